// Nothing is lost and nothing is measured twice, wherever a run ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "experiments/journal.h"
#include "experiments/results.h"
#include "experiments/resume_checks.h"
#include "experiments/shard.h"
#include "tests/experiments/run_testing.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class Resume : public RunTest {
 protected:
  // Cells that pass, fail in the first pass, and cannot be.
  fs::path small_config() {
    return write_config(
        "[full, nans, {longformer: {window: 3}}, {block_permutation: "
        "{num_blocks: 3}}, throws]",
        kQuick);
  }
  // What an uninterrupted run of the config finds.
  std::string expected(const fs::path& config) {
    const std::string folder = (folder_ / "whole").string();
    call(kFaulty, {"run", config.string(), "--output", folder, "--no-report"});
    return findings_of(folder);
  }
  // Changes what a record of this kind says, with a good checksum.
  void edit_journal(const std::string& kind, const std::function<void(nlohmann::json&)>& change) {
    std::istringstream lines(journal());
    std::string text;
    for (std::string line; std::getline(lines, line);) {
      nlohmann::json record = nlohmann::json::parse(line);
      record.erase("crc");
      if (record["kind"] == kind) change(record);
      text += journal_line(record);
    }
    std::ofstream(folder_ / "results" / "journal.jsonl") << text;
  }
};

class InjectedResume : public Resume {
 protected:
  void SetUp() override { skip_with_sanitizers(); }
};

TEST_F(InjectedResume, AfterAKillAtEveryWriteGivesWhatAnUninterruptedRunGives) {
  const fs::path config = small_config();
  const std::string whole = expected(config);
  ASSERT_NE(whole.find("nan"), std::string::npos) << whole;
  bool killed = true;
  int kills = 0;
  for (int write = 1; killed; ++write) {
    for (const char* how : {"kill", "torn"}) {
      const std::string fault = std::string(how) + " " + std::to_string(write);
      const int code = call_with_fault(fault, run_of(config, {"--no-report"}));
      killed = code == -SIGKILL;
      if (killed) {
        ++kills;
        EXPECT_EQ(call(kFaulty, resume()), 1) << fault << ": " << err();
        const bool torn = err().find("the last line is torn") != std::string::npos;
        EXPECT_EQ(torn, how == std::string("torn")) << err();
      } else {
        EXPECT_EQ(code, 1) << err();
      }
      EXPECT_EQ(findings_of(results_folder()), whole) << fault;
      EXPECT_NE(journal().find(R"("status":"complete")"), std::string::npos) << fault;
      fs::remove_all(results_folder());
    }
  }
  // 5 errors of which 2 fail, 3 memories, 3 pictures, 6 rounds, the end; some less if unsupported.
  EXPECT_GE(kills, 2 * 12);
}

TEST_F(InjectedResume, AfterManyKillsGivesWhatAnUninterruptedRunGives) {
  const fs::path config = small_config();
  const std::string whole = expected(config);
  int code = call_with_fault("kill 3", run_of(config, {"--no-report"}));
  int kills = 0;
  for (; code == -SIGKILL && kills < 100; ++kills) code = call_with_fault("torn 3", resume());
  EXPECT_EQ(code, 1) << err();
  EXPECT_GE(kills, 6);
  EXPECT_EQ(findings_of(results_folder()), whole);
}

TEST_F(InjectedResume, BeforeThePlanIsWrittenSaysSoAndTheFolderCanBeUsed) {
  const fs::path config = small_config();
  EXPECT_EQ(call_with_fault("head 0", run_of(config)), -SIGKILL);
  EXPECT_EQ(call(kFaulty, resume()), 74);
  EXPECT_NE(err().find("no journal.jsonl in it"), std::string::npos) << err();
  EXPECT_EQ(call(kFaulty, run_of(config, {"--no-report"})), 1) << err();
  for (const auto& entry : fs::directory_iterator(results_folder())) {
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  }
}

TEST_F(Resume, AfterASignalGoesOnAndTellsHowBefore) {
  const std::pair<int, int> codes[] = {{SIGINT, 130}, {SIGTERM, 143}, {SIGHUP, 129}};
  const fs::path config =
      write_config("[zero, hangs]", std::string(kQuick) + "\nlimits: {time: 60s}");
  for (const auto& [signal, code] : codes) {
    const pid_t run = start(kFaulty, run_of(config));
    ASSERT_TRUE(eventually([&] {  // the second one is at work
      return journal().find(R"("kind":"error")") != std::string::npos && child_of(run) != 0;
    }));
    kill(run, signal);
    EXPECT_EQ(finish(run), code) << err();
    EXPECT_NE(err().find("failed or cancelled "), std::string::npos) << err();
    EXPECT_NE(err().find("interrupted after 1 of 8 measurements; go on with: " +
                         std::string(kFaulty) + " run --resume " + results_folder()),
              std::string::npos)
        << err();
    EXPECT_NE(journal().find(R"("status":"interrupted")"), std::string::npos);
    EXPECT_TRUE(fs::exists(folder_ / "results" / "report.html"));
    fs::remove_all(results_folder());
  }
}

TEST_F(Resume, AfterTwoSignalsHasAWholeJournal) {
  const fs::path config =
      write_config("[zero, hangs]", std::string(kQuick) + "\nlimits: {time: 60s}");
  const pid_t run = start(kFaulty, run_of(config));
  ASSERT_TRUE(eventually([&] { return journal().find(R"("kind":"error")") != std::string::npos; }));
  pid_t worker = 0;
  ASSERT_TRUE(eventually([&] { return (worker = child_of(run)) != 0; }));
  kill(run, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // two at once would be one
  kill(run, SIGINT);
  EXPECT_EQ(finish(run), 130) << err();
  EXPECT_EQ(results().at("zero").sampled_rows, 16);
  EXPECT_TRUE(eventually([&] { return kill(worker, 0) != 0; })) << "a worker outlived its run";
}

TEST_F(Resume, OfAFinishedRunMeasuresNothing) {
  const fs::path config = small_config();
  EXPECT_EQ(call(kFaulty, run_of(config, {"--no-report"})), 1) << err();
  const std::string before = findings_of(results_folder()), text = journal();
  EXPECT_EQ(call(kFaulty, resume()), 1) << err();
  EXPECT_NE(err().find("nothing was left to measure"), std::string::npos) << err();
  EXPECT_EQ(findings_of(results_folder()), before);
  EXPECT_TRUE(journal().starts_with(text));
}

TEST_F(Resume, NeedsNothingButTheFolder) {
  const fs::path config = small_config();
  const std::string whole = expected(config);
  EXPECT_EQ(call(kFaulty, run_of(config, {"--fail-fast"})), 1) << err();
  fs::remove(config);
  fs::remove(folder_ / "results" / "config.yaml");
  EXPECT_EQ(call(kFaulty, resume()), 1) << err();
  EXPECT_EQ(findings_of(results_folder()), whole);
  EXPECT_TRUE(fs::exists(folder_ / "results" / "config.yaml"));
}

TEST_F(Resume, RefusesAChangedConfigAndShowsWhatChanged) {
  const fs::path config = small_config();
  const std::string original = slurp(config);
  EXPECT_EQ(call(kFaulty, run_of(config, {"--fail-fast", "--no-report"})), 1) << err();
  const std::string before = journal();
  std::string changed = original;
  changed.replace(changed.find("rounds: 2"), 9, "rounds: 5");
  std::ofstream(config) << changed;
  for (const Arguments& more : {Arguments{}, Arguments{config.string()}}) {
    EXPECT_EQ(call(kFaulty, resume(more)), 2);
    EXPECT_NE(err().find("    7 - measure: {rounds: 2, "), std::string::npos) << err();
    EXPECT_NE(err().find("    7 + measure: {rounds: 5, "), std::string::npos) << err();
    EXPECT_EQ(journal(), before);
  }
  // The way out that the message tells.
  const std::string copy = (folder_ / "results" / "config.yaml").string();
  EXPECT_NE(err().find("longattn run " + copy + " --resume " + results_folder()), std::string::npos)
      << err();
  EXPECT_EQ(call(kFaulty, resume({copy})), 1) << err();
  EXPECT_EQ(results().at("full").round_seconds.size(), 2u);
}

TEST_F(Resume, RefusesAnotherBuildOrMachineAndShowsWhichFactsDiffer) {
  const fs::path config = write_config("[nans, zero]", kQuick);
  EXPECT_EQ(call(kFaulty, run_of(config, {"--fail-fast", "--no-report"})), 1) << err();
  // The same variants in another program: another build.
  EXPECT_EQ(call(kProgram, resume()), 2);
  EXPECT_NE(err().find("\n  build id: was "), std::string::npos) << err();
  EXPECT_EQ(err().find("\n  date"), std::string::npos) << err();
  edit_journal("run", [](nlohmann::json& run) {
    for (auto& fact : run["provenance"]) {
      if (fact[0] == "processor") fact[1] = "Z80";
    }
  });
  EXPECT_EQ(call(kFaulty, resume()), 2);
  EXPECT_NE(err().find("\n  processor: was Z80, is "), std::string::npos) << err();
  EXPECT_EQ(err().find("build id"), std::string::npos) << err();
}

TEST_F(Resume, KnowsWhatTheCommandLineSet) {
  const fs::path config = write_config("[nans, zero]", kQuick);
  EXPECT_EQ(call(kFaulty, run_of(config, {"--fail-fast", "--no-report", "--set", "measure.rounds=3",
                                          "--set", "problem.lengths=[24]"})),
            1)
      << err();
  EXPECT_EQ(call(kFaulty, resume({"--max-failures", "1"})), 1) << err();
  EXPECT_EQ(results().at("zero").round_seconds.size(), 3u);
  EXPECT_EQ(results().at("zero").cell.problem.key_len, 24);
  // The file in the folder says the same, with everything set.
  EXPECT_EQ(call(kFaulty, resume({(folder_ / "results" / "config.yaml").string()})), 1) << err();
  std::ofstream(config, std::ios::app) << "seed: 2\n";
  EXPECT_EQ(call(kFaulty, resume()), 2);
  EXPECT_NE(err().find("+ seed: 2"), std::string::npos) << err();
}

// The first input keeps the run busy meanwhile.
TEST_F(Resume, ATraceThatChangesBeforeItIsReadEndsTheRun) {
  const fs::path trace = folder_ / "trace.safetensors";
  fs::copy_file(LONGATTN_SOURCE_DIR "/configs/traces/kjv-2048.safetensors", trace);
  const fs::path config = folder_ / "config.yaml";
  std::ofstream(config)
      << "longattn: 1\nname: test\nthreads: 1\n"
         "inputs: [gaussian: {}, {trace: trace.safetensors, layer: 2}]\n"
         "problem: {lengths: [40], num_heads: 4, num_kv_heads: 2, head_dim: 64}\n"
         "variants: [hangs, zero]\nmeasure: {rounds: 1, error: false, patterns: false}\n"
         "limits: {time: 3s}\n";
  const pid_t run = start(kFaulty, run_of(config, {"--no-report"}));
  ASSERT_TRUE(eventually([&] { return err().find("making inputs: gaussian") != err().npos; }));
  std::fstream file(trace, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('\x42');
  file.close();
  EXPECT_EQ(finish(run), 65) << err();
  EXPECT_NE(err().find("trace.safetensors: the content is not what it was when this run began"),
            std::string::npos)
      << err();
  EXPECT_NE(err().find("kept in " + results_folder()), std::string::npos) << err();
  EXPECT_NE(journal().find(R"("kind":"memory")"), std::string::npos) << "of the first input";
  EXPECT_TRUE(journal().ends_with("\n"));
}

TEST_F(Resume, RefusesAnotherTraceUnderTheSameName) {
  const fs::path trace = folder_ / "trace.safetensors";
  fs::copy_file(LONGATTN_SOURCE_DIR "/configs/traces/kjv-2048.safetensors", trace);
  const fs::path config = folder_ / "config.yaml";
  std::ofstream(config) << "longattn: 1\nname: test\nthreads: 1\n"
                           "inputs: [{trace: trace.safetensors, layer: 2}]\n"
                           "problem: {lengths: [40]}\nvariants: [nans, zero]\n"
                        << kQuick << "\n";
  // Begun with relative paths, and gone on with from elsewhere.
  const std::string there = "cd " + folder_.string() +
                            " && exec \"$0\" run config.yaml --output results --fail-fast "
                            "--no-report";
  EXPECT_EQ(call("/bin/sh", {"-c", there, kFaulty}), 1) << err();
  EXPECT_EQ(results().at("zero").status, Status::skipped);
  EXPECT_EQ(call(kFaulty, resume()), 1) << err();
  EXPECT_EQ(results().at("zero").status, Status::ok) << results().at("zero").reason;
  std::fstream file(trace, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('\x42');
  file.close();
  EXPECT_EQ(call(kFaulty, resume()), 2);
  EXPECT_NE(err().find("trace.safetensors: the content is not what it was"), std::string::npos)
      << err();
}

TEST_F(Resume, NamesTheLineOfADamagedJournalAndLeavesItAlone) {
  const fs::path config = small_config();
  EXPECT_EQ(call(kFaulty, run_of(config, {"--no-report"})), 1) << err();
  std::string text = journal();
  const size_t at = text.find(R"("kind":"memory")");
  const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<long>(at), '\n');
  text[at + 9] = 'n';
  std::ofstream(folder_ / "results" / "journal.jsonl") << text;
  for (const Arguments& command : {resume(), Arguments{"report", results_folder()}}) {
    EXPECT_EQ(call(kFaulty, command), 65);
    EXPECT_NE(err().find("journal.jsonl:" + std::to_string(line) + ": damaged record"),
              std::string::npos)
        << err();
    EXPECT_EQ(journal(), text);
  }
}

TEST_F(Resume, WaitsForNobodyWhoHoldsTheFolder) {
  const fs::path config =
      write_config("[zero, hangs]", std::string(kQuick) + "\nlimits: {time: 60s}");
  const pid_t first = start(kFaulty, run_of(config));
  ASSERT_TRUE(eventually([&] { return journal().find(R"("kind":"error")") != std::string::npos; }));
  for (const Arguments& command : {resume(), run_of(config)}) {
    EXPECT_EQ(call(kFaulty, command), 75);
    EXPECT_NE(err().find("in use by process " + std::to_string(first) + " on "), std::string::npos)
        << err();
    EXPECT_NE(err().find(" since 20"), std::string::npos) << err();
  }
  kill(first, SIGKILL);
  EXPECT_EQ(finish(first), -SIGKILL);
  // The kernel has let go of the lock; the hanging cell is cancelled.
  const pid_t second = start(kFaulty, resume());
  ASSERT_TRUE(eventually([&] { return journal().find(R"("kind":"resume")") != std::string::npos; }))
      << err();
  kill(second, SIGINT);
  EXPECT_EQ(finish(second), 130) << err();
}

TEST_F(Resume, GoesOnAfterTheFirstFailuresThatEndedARun) {
  const fs::path config = write_config("[zero, nans, throws, wrong, full]", kQuick);
  const std::string whole = expected(config);
  const auto failures = [&] {
    return std::ranges::count_if(results(), [](const auto& found) {
      return found.second.status != Status::ok && found.second.status != Status::skipped;
    });
  };
  EXPECT_EQ(call(kFaulty, run_of(config, {"--fail-fast", "--no-report"})), 1) << err();
  EXPECT_EQ(failures(), 1);
  EXPECT_NE(err().find("ended by a failure after 2 of "), std::string::npos) << err();
  EXPECT_EQ(results().at("throws").reason, "the run ended before it was measured");
  EXPECT_EQ(call(kFaulty, resume({"--max-failures", "2"})), 1) << err();
  EXPECT_EQ(failures(), 3);
  EXPECT_EQ(results().at("full").status, Status::skipped);
  EXPECT_EQ(call(kFaulty, resume()), 1) << err();
  EXPECT_EQ(findings_of(results_folder()), whole);
}

TEST_F(Resume, CountsTheTimeThatACellHasTaken) {
  // A round takes longer than that: three rounds, the fewest there are.
  const fs::path config = write_config(
      "[full, zero]", "measure: {rounds: 5, min_time: 1ms, max_time: 1ms, error_rows: 4}");
  EXPECT_EQ(call(kProgram, run_of(config)), 0) << err();
  EXPECT_EQ(results().at("full").round_seconds.size(), 3u);
  EXPECT_TRUE(results().at("full").few_rounds);
  EXPECT_NE(out().find("ok, few_rounds 3/5"), std::string::npos) << out();
  EXPECT_NE(slurp(folder_ / "results" / "report.html").find("ok, few_rounds 3/5"),
            std::string::npos);
  const std::string csv = slurp(folder_ / "results" / "results.csv");
  EXPECT_NE(csv.find(",few_rounds,"), std::string::npos);
  EXPECT_NE(csv.find(",3,true,"), std::string::npos) << csv;
  EXPECT_EQ(call(kProgram, resume()), 0) << err();
  EXPECT_EQ(results().at("full").round_seconds.size(), 3u);
}

TEST_F(Resume, OfShardsAndMergedTheyAreTheWholeRun) {
  const fs::path config =
      write_config("[full, nans, {longformer: {window: 3}}]", kQuick, "[8, 16, 24]");
  const std::string whole = expected(config);
  const auto shard = [&](int n) { return (folder_ / ("shard" + std::to_string(n))).string(); };
  for (int n : {1, 2}) {
    call(kFaulty, {"run", config.string(), "--output", shard(n), "--no-report", "--shard",
                   std::to_string(n) + "/2"});
  }
  // In any order.
  EXPECT_EQ(call(kFaulty, {"merge", results_folder(), shard(2), shard(1)}), 1) << err();
  EXPECT_EQ(findings_of(results_folder()), whole);
  EXPECT_TRUE(fs::exists(folder_ / "results" / "report.html"));
  const std::string other = (folder_ / "other").string();
  EXPECT_EQ(call(kFaulty, {"merge", other, shard(1), shard(1)}), 2);
  EXPECT_NE(err().find("both hold shard 1/2"), std::string::npos) << err();
  EXPECT_EQ(call(kFaulty, {"merge", other, shard(2), results_folder()}), 2);
  EXPECT_FALSE(fs::exists(other));
  // One alone: the cells of the other one are rows, and said to be missing.
  EXPECT_EQ(call(kFaulty, {"merge", other, shard(2)}), 1) << err();
  EXPECT_NE(err().find("shard 1/2 is missing"), std::string::npos) << err();
  const RunResults part = results_from_folder(other);
  ASSERT_EQ(part.cells.size(), 9u);
  EXPECT_EQ(part.cells[0].reason, "left to shard 1/2");
  EXPECT_EQ(part.cells[3].status, Status::ok);
  EXPECT_EQ(call(kFaulty, {"run", config.string(), "--output", other + "4", "--shard", "4/4"}), 2);
  EXPECT_NE(err().find("only 3 combinations"), std::string::npos) << err();
  EXPECT_FALSE(fs::exists(other + "4"));
}

TEST(RunShard, IsWrittenAsTwoNumbers) {
  EXPECT_EQ(to_string(shard_from_string("2/3")), "2/3");
  for (const char* wrong : {"", "2", "0/3", "4/3", "2/", "/3", "2/3x", "-1/3", "a/b", "1/0"}) {
    EXPECT_THROW(shard_from_string(wrong), OptionError) << wrong;
  }
}

TEST(DifferingLines, AreThoseBetweenTheFirstAndTheLastThatDiffer) {
  EXPECT_EQ(differing_lines("a\nb\nc\n", "a\nb\nc\n"), "");
  EXPECT_EQ(differing_lines("a\nb\nc\n", "a\nx\ny\nc\n"), "\n    2 - b\n    2 + x\n    3 + y");
  EXPECT_EQ(differing_lines("a\n", "a\na\n"), "\n    2 + a");
  EXPECT_EQ(differing_lines("a\n\x1b[0m", "a\n"), "\n    2 - \\x1b[0m");
  std::string many;
  for (int n = 0; n < 100; ++n) many += "line\n";
  EXPECT_NE(differing_lines(many, "").find("- (88 more)"), std::string::npos);
}

}  // namespace
}  // namespace longattn
