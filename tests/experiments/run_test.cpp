// The whole program, run as a user runs it: real worker processes, real signals.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/file.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "experiments/journal.h"
#include "experiments/measure/heap_counter.h"
#include "experiments/report/csv.h"
#include "experiments/results.h"
#include "experiments/serialize.h"
#include "tests/experiments/run_testing.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class Run : public RunTest {};

TEST_F(Run, TurnsEachFailureIntoARowAndGoesOn) {
  const fs::path config = write_config(
      "[full, crashes, killed, hangs, greedy, nans, one_nan, wrong, throws, writes_inputs, "
      "writes_behind, writes_before, floods, chatters, leaves_child, wavers, louder, allocates]",
      std::string(kQuick) + "\nlimits: {time: 2s, memory: 300MiB}");
  // AddressSanitizer is to leave the signals of bad accesses to the worker's parent.
  const pid_t run =
      start(kFaulty, run_of(config),
            {{"LONGATTN_TEST_MARK", folder_.string()}, {"ASAN_OPTIONS", "handle_segv=0"}});
  const std::string mark = "LONGATTN_TEST_MARK=" + folder_.string();
  EXPECT_TRUE(eventually([&] { return anything_runs_with(mark); }));
  EXPECT_EQ(finish(run), 1) << err();
  EXPECT_TRUE(eventually([&] { return !anything_runs_with(mark); })) << "a worker's child lives on";
  const auto cells = results();
  ASSERT_EQ(cells.size(), 18u);
  const auto expect = [&](const char* variant, Status status, const char* reason) {
    const CellResult& cell = cells.at(variant);
    EXPECT_EQ(to_string(cell.status), to_string(status)) << variant << ": " << cell.reason;
    EXPECT_NE(cell.reason.find(reason), std::string::npos) << variant << ": " << cell.reason;
    EXPECT_FALSE(cell.time_s) << variant << " has a time";
  };
  expect("crashes", Status::crash, "signal 6");
  expect("killed", Status::crash, "signal 9");
  expect("hangs", Status::timeout, "the limit is 2 s");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  expect("greedy", Status::oom, "memory limit");
  expect("greedy", Status::oom, " MiB had been resident; limits.memory is 0.315 GB");
#endif
  expect("nans", Status::nan, "NaN");
  expect("one_nan", Status::nan, "1 of 80 output rows");
  expect("floods", Status::crash, "signal 6");
  expect("wrong", Status::nonconforming, "its own definition");
  expect("throws", Status::crash, "a variant's own words");
  expect("writes_inputs", Status::crash, "signal 11");
  expect("writes_behind", Status::crash, "signal 11");
  expect("writes_before", Status::nonconforming, "in front of its output");
  for (const char* healthy :
       {"full", "chatters", "leaves_child", "wavers", "louder", "allocates"}) {
    const CellResult& cell = cells.at(healthy);
    EXPECT_EQ(cell.status, Status::ok) << cell.reason;
    ASSERT_TRUE(cell.time_s) << healthy;
    EXPECT_EQ(cell.round_seconds.size(), 2u);
    EXPECT_GT(cell.time_s->value, 0);
    EXPECT_LE(*cell.implementation_ratio, 1);
    EXPECT_EQ(cell.sampled_rows, 16);
  }
  for (const auto& [variant, cell] : cells) {
    EXPECT_EQ(cell.nondeterministic, variant == "wavers") << variant;
  }
  EXPECT_NE(out().find("ok, nondeterministic"), std::string::npos) << out();
  // Known figures: an error of 0.25, and 4 MiB (rounded to pages) beside what full takes.
  EXPECT_NEAR(cells.at("louder").relative_error->value, 0.25, 1e-6);
  EXPECT_NEAR(cells.at("louder").relative_error->high, 0.25, 1e-6);
  EXPECT_EQ(cells.at("full").relative_error->value, 0);
  if (heap_counting_available()) {
    EXPECT_NEAR(*cells.at("allocates").heap_peak_bytes,
                *cells.at("full").heap_peak_bytes + (4 << 20), 3 * 4096);
  }
  EXPECT_EQ(out().find("noise on standard output"), std::string::npos);
  // What a failed worker said is kept, no more than its end, and never reaches the terminal raw.
  EXPECT_NE(journal().find("\"log\":\"longattn: error: internal: a variant's own words"),
            std::string::npos);
  EXPECT_LT(journal().size(), 1u << 20);
  EXPECT_EQ(err().find('\x1b'), std::string::npos);
  EXPECT_TRUE(fs::exists(folder_ / "results" / "report.html"));
  EXPECT_TRUE(fs::exists(folder_ / "results" / "results.csv"));
}

TEST_F(Run, OfGoodCellsExitsZeroAndNamesTheReport) {
  const fs::path config = write_config("[full, blockwise, {longformer: {window: 3}}]", kQuick);
  EXPECT_EQ(call(LONGATTN_PROGRAM, {"run", config.string(), "--output", results_folder()}), 0)
      << err();
  EXPECT_NE(err().find((folder_ / "results" / "report.html").string()), std::string::npos) << err();
  EXPECT_NE(out().find("longformer"), std::string::npos);
  const auto cells = results();
  EXPECT_EQ(cells.at("blockwise").relative_error->value, 0);
  EXPECT_GT(cells.at("longformer").relative_error->value, 0.01);
  EXPECT_LT(cells.at("longformer").captured_mass->value, 1);
}

// Its PATH holds a gnuplot that fails, or none at all.
TEST_F(Run, WithoutPlotsStillWritesTheTableAndExits74) {
  const fs::path config = write_config("[full, zero]", kQuick);
  const fs::path programs = folder_ / "bin";
  fs::create_directory(programs);
  const std::string before = std::getenv("PATH");
  for (const std::string reason : {"gnuplot: not found", "out of ink &amp; paper"}) {
    if (reason != "gnuplot: not found") {
      std::ofstream(programs / "gnuplot") << "#!/bin/sh\necho 'out of ink & paper'\nexit 1\n";
      fs::permissions(programs / "gnuplot", fs::perms::owner_all);
    }
    setenv("PATH", programs.c_str(), 1);
    const int code = call(LONGATTN_PROGRAM, {"run", config.string(), "--output", results_folder()});
    const std::string table = out();
    const int again = call(LONGATTN_PROGRAM, {"report", results_folder()});
    setenv("PATH", before.c_str(), 1);
    EXPECT_EQ(code, 74) << err();
    EXPECT_EQ(again, 74) << err();
    EXPECT_EQ(out(), table);
    EXPECT_NE(table.find("full"), std::string::npos);
    EXPECT_NE(err().find("longattn: error: gnuplot: "), std::string::npos) << err();
    EXPECT_NE(slurp(folder_ / "results" / "results.csv").find("\r\n"), std::string::npos);
    const std::string page = slurp(folder_ / "results" / "report.html");
    EXPECT_NE(page.find("The plots could not be drawn: gnuplot"), std::string::npos);
    EXPECT_NE(page.find(reason), std::string::npos);
    fs::remove_all(results_folder());
  }
}

TEST_F(Run, RefusesAFolderThatAnotherRunHolds) {
  fs::create_directories(results_folder());
  const int lock = open((folder_ / "results" / "LOCK").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(write(lock, "process 4711", 12), 12);
  ASSERT_EQ(flock(lock, LOCK_EX), 0);
  const fs::path config = write_config("[zero]", kQuick);
  EXPECT_EQ(call(LONGATTN_PROGRAM, {"run", config.string(), "--output", results_folder()}), 75);
  EXPECT_NE(err().find("in use by process 4711"), std::string::npos) << err();
  close(lock);
}

TEST_F(Run, RefusesAFolderThatIsNotEmpty) {
  fs::create_directories(results_folder());
  std::ofstream(folder_ / "results" / "thesis.tex") << "precious";
  const fs::path config = write_config("[zero]", kQuick);
  EXPECT_EQ(call(LONGATTN_PROGRAM, {"run", config.string(), "--output", results_folder()}), 73);
  EXPECT_NE(err().find("thesis.tex"), std::string::npos) << err();
  EXPECT_EQ(slurp(folder_ / "results" / "thesis.tex"), "precious");
  EXPECT_FALSE(fs::exists(folder_ / "results" / "LOCK")) << "it left something in there";
}

TEST_F(Run, InterruptedReportsWhatItHasAndLeavesNoWorker) {
  const fs::path config =
      write_config("[zero, hangs]", std::string(kQuick) + "\nlimits: {time: 60s}");
  const pid_t run = start(kFaulty, {"run", config.string(), "--output", results_folder()});
  // Until the first cell is judged and the second one hangs.
  ASSERT_TRUE(eventually([&] { return journal().find(R"("kind":"error")") != std::string::npos; }));
  kill(run, SIGINT);
  EXPECT_EQ(finish(run), 130) << err();
  EXPECT_TRUE(fs::exists(folder_ / "results" / "report.html"));
  EXPECT_EQ(results().at("zero").sampled_rows, 16);
  EXPECT_EQ(results().at("hangs").status, Status::skipped);
  EXPECT_EQ(results().at("hangs").reason, "the run ended before it was measured");
  EXPECT_NE(err().find("interrupted"), std::string::npos) << err();
}

TEST_F(Run, KilledLeavesNoWorkerAndAJournalThatCanBeReported) {
  const fs::path config =
      write_config("[zero, hangs]", std::string(kQuick) + "\nlimits: {time: 60s}");
  const pid_t run = start(kFaulty, {"run", config.string(), "--output", results_folder()});
  ASSERT_TRUE(eventually([&] { return journal().find(R"("kind":"error")") != std::string::npos; }));
  pid_t worker = 0;
  ASSERT_TRUE(eventually([&] { return (worker = child_of(run)) != 0; }));
  kill(run, SIGKILL);
  EXPECT_EQ(finish(run), -SIGKILL);
  EXPECT_EQ(results().at("zero").sampled_rows, 16);
  EXPECT_TRUE(eventually([&] { return kill(worker, 0) != 0; })) << "a worker outlived its run";
}

TEST_F(Run, GoesOnWhenSomebodyKillsAWorker) {
  const fs::path config =
      write_config("[hangs, zero]", std::string(kQuick) + "\nlimits: {time: 60s}");
  const pid_t run = start(kFaulty, run_of(config, {"--no-report"}));
  // What the input is like stands in the journal before the first cell is judged, which hangs.
  ASSERT_TRUE(eventually([&] { return journal().find(R"("kind":"input")") != std::string::npos; }));
  pid_t worker = 0;
  ASSERT_TRUE(eventually([&] { return (worker = child_of(run)) != 0; }));
  kill(worker, SIGKILL);
  EXPECT_EQ(finish(run), 1) << err();
  EXPECT_EQ(results().at("hangs").status, Status::crash);
  EXPECT_EQ(results().at("hangs").reason, "killed by signal 9 (Killed), not by this run");
  EXPECT_EQ(results().at("zero").status, Status::ok);
  EXPECT_EQ(results().at("zero").round_seconds.size(), 2u);
}

// Two others and the worker on one processor: it waits two thirds of its time.
TEST_F(Run, MarksRoundsThatHadToWaitForAProcessor) {
  if (slurp("/proc/self/schedstat").empty()) GTEST_SKIP() << "the kernel counts no waiting here";
  const fs::path config =
      write_config("[full]", "measure: {rounds: 2, min_time: 200ms, error_rows: 4}");
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  std::vector<pid_t> others;
  for (int n = 0; n < 2; ++n) others.push_back(start("/bin/sh", {"-c", "while :; do :; done"}));
  EXPECT_EQ(call(kProgram, run_of(config)), 0) << err();
  for (const pid_t other : others) kill(other, SIGKILL);
  for (const pid_t other : others) finish(other);
  sched_setaffinity(0, sizeof before, &before);
  EXPECT_EQ(results().at("full").disturbed_rounds, 2);
  EXPECT_EQ(results().at("full").round_seconds.size(), 2u) << "marked, not dropped";
  EXPECT_NE(err().find("2 timing rounds were disturbed"), std::string::npos) << err();
  EXPECT_NE(slurp(folder_ / "results" / "results.csv").find("disturbed"), std::string::npos);
}

TEST_F(Run, TellsWhereTheTimeWentAndTheReportKeepsIt) {
  EXPECT_EQ(call(kProgram, run_of(write_config("[full, zero]", kQuick))), 0) << err();
  std::smatch parts;
  const std::string text = err();
  ASSERT_TRUE(std::regex_search(
      text, parts,
      std::regex("([0-9.]+) s: measured passes ([0-9.]+) s, warming up ([0-9.]+) s, judging "
                 "([0-9.]+) s, making inputs ([0-9.]+) s, the harness itself ([0-9.]+) s or "
                 "([0-9.]+) % \\(11 workers [0-9.]+ s, journal [0-9.]+ s\\)\n")))
      << text;
  double sum = 0;
  for (size_t n = 2; n <= 6; ++n) sum += std::stod(parts[n]);
  EXPECT_NEAR(sum, std::stod(parts[1]), 6 * 0.05) << text;
  EXPECT_LE(std::stod(parts[7]), 100) << text;
  const std::string line = parts.str().substr(0, parts.str().size() - 1);
  const std::string page = slurp(folder_ / "results" / "report.html");
  EXPECT_NE(page.find(line), std::string::npos) << line;
}

// Inputs that take longer than anything else: the time in which they are made is nobody else's.
TEST_F(Run, CountsNoSecondTwice) {
  const fs::path config = write_config("[zero]", kQuick, "[40000]");
  EXPECT_EQ(call(kProgram, run_of(config, {"--no-report", "--set", "problem.num_heads=8", "--set",
                                           "problem.head_dim=64"})),
            0)
      << err();
  double workers = 0;
  std::istringstream lines(journal());
  for (std::string line; std::getline(lines, line);) {
    workers += nlohmann::json::parse(line).value("wall_s", 0.0);
  }
  std::smatch parts;
  const std::string text = err();
  ASSERT_TRUE(std::regex_search(
      text, parts, std::regex("([0-9.]+) s: measured.* making inputs ([0-9.]+) s, the harness")))
      << text;
  EXPECT_GT(workers, 0);
  EXPECT_LE(workers + std::stod(parts[2]), std::stod(parts[1]) + 2 * 0.05) << text;
}

TEST_F(Run, PrintsJsonWhereAProgramReads) {
  const fs::path config = write_config("[full, zero]", kQuick);
  ASSERT_EQ(call(LONGATTN_PROGRAM,
                 {"run", config.string(), "--output", results_folder(), "--json", "--rounds", "3"}),
            0)
      << err();
  const auto printed = nlohmann::json::parse(out());
  EXPECT_EQ(printed["cells"].size(), 2u);
  EXPECT_EQ(printed["cells"][0]["cell"]["variant"], "full");
  EXPECT_EQ(printed["cells"][0]["status"], "ok");
  EXPECT_EQ(printed["cells"][0]["round_seconds"].size(), 3u);
}

TEST_F(Run, FolderGivesBackWhatTheRunPrinted) {
  const fs::path config = write_config("[full, {longformer: {window: 3}}]", kQuick);
  ASSERT_EQ(
      call(LONGATTN_PROGRAM, {"run", config.string(), "--output", results_folder(), "--json"}), 0)
      << err();
  const auto printed = nlohmann::json::parse(out());
  const RunResults read = results_from_folder(results_folder());
  ASSERT_EQ(read.cells.size(), 2u);
  for (size_t n = 0; n < 2; ++n) {
    nlohmann::json cell = measurements_to_json(read.cells[n]);
    cell["cell"] = to_json(read.cells[n].cell);
    EXPECT_EQ(cell, printed["cells"][n]);
  }
  EXPECT_EQ(read.patterns.size(), 2u);
  EXPECT_EQ(read.command, printed["command"]);
}

TEST_F(Run, IsRepeatedForOneCellByTheCommandOfItsRow) {
  const fs::path config = write_config("[full, zero, {longformer: {window: 3}}]", kQuick);
  ASSERT_EQ(call(LONGATTN_PROGRAM, {"run", config.string(), "--output", results_folder()}), 0)
      << err();
  const RunResults all = results_from_folder(results_folder());
  const CellResult& wanted = all.cells.at(2);
  const std::string command = repeat_command(all, wanted.cell);
  EXPECT_EQ(command.find("--output"), std::string::npos) << command;
  const std::string again = (folder_ / "again").string();
  ASSERT_EQ(call("/bin/sh", {"-c", command + " --output " + again}), 0) << err();
  const RunResults one = results_from_folder(again);
  ASSERT_EQ(one.cells.size(), 1u);
  EXPECT_EQ(one.cells[0].cell.id, wanted.cell.id);
  EXPECT_EQ(one.cells[0].relative_error->value, wanted.relative_error->value);
  EXPECT_EQ(one.command, all.command);
  EXPECT_EQ(call(LONGATTN_PROGRAM, {"run", config.string(), "--cell", "longformer"}), 2);
  EXPECT_NE(err().find("--cell longformer: the plan has no such cell"), std::string::npos) << err();
}

TEST_F(Run, SaysWhatIsTooLargeForTheMemoryLimitAndNeverStartsIt) {
  const fs::path config = write_config("[full, zero]", R"(
measure: {rounds: 1, min_time: 1ms, error_rows: 4}
limits: {memory: 20KiB}
)");
  call(LONGATTN_PROGRAM, {"plan", config.string()});
  EXPECT_NE(out().find("(1 run, 0 unsupported, 1 skipped)"), std::string::npos) << out();
  EXPECT_NE(out().find("needs "), std::string::npos) << out();
  EXPECT_NE(out().find("limit 20.0 KiB"), std::string::npos) << out();
  // Its worker would crash: nothing of it is in the journal but that it was skipped.
  EXPECT_EQ(call(kFaulty, run_of(write_config("[crashes]", R"(
measure: {rounds: 1, min_time: 1ms, error_rows: 4}
limits: {memory: 20KiB}
)"))),
            0)
      << err();
  EXPECT_EQ(results().at("crashes").status, Status::skipped);
  EXPECT_NE(results().at("crashes").reason.find("needs "), std::string::npos);
  EXPECT_EQ(journal().find(R"("kind":"error")"), std::string::npos);
}

// Sixteen stacks of 8 MiB are no memory of the variant.
TEST_F(Run, CountsNoStackOfAThreadAgainstTheMemoryLimit) {
  const fs::path config = write_config("[full]", std::string(kQuick) + "\nlimits: {memory: 12MiB}");
  EXPECT_EQ(call(kProgram, run_of(config, {"--no-report", "--set", "threads=16"})), 0) << err();
  EXPECT_EQ(results().at("full").status, Status::ok) << results().at("full").reason;
}

TEST_F(Run, NamesNoFileAfterWhatAUserWrote) {
  const fs::path config = write_config("[full, zero]", kQuick);
  EXPECT_EQ(call(kProgram,
                 run_of(config, {"--set",
                                 "inputs=[{gaussian: {}, label: '../../a/b <script>'}, {gaussian: "
                                 "{seed: 2}, label: \"" +
                                     std::string(64, 'x') + "\"}]"})),
            0)
      << err();
  const std::regex plain("[A-Za-z]+(-[a-z]+)*(-[12])?(\\.[a-z]+)?");
  for (const auto& entry : fs::recursive_directory_iterator(results_folder())) {
    EXPECT_TRUE(std::regex_match(entry.path().filename().string(), plain)) << entry.path();
  }
  std::set<std::string> beside;
  for (const auto& entry : fs::directory_iterator(folder_)) beside.insert(entry.path().filename());
  EXPECT_EQ(beside, (std::set<std::string>{"config.yaml", "results", "stderr", "stdout"}));
}

TEST_F(Run, OfAWrongConfigMeasuresNothingAndExitsTwo) {
  const fs::path config = write_config("[ful]", kQuick);
  EXPECT_EQ(call(LONGATTN_PROGRAM, {"run", config.string(), "--output", results_folder()}), 2);
  EXPECT_NE(err().find("did you mean 'full'?"), std::string::npos) << err();
  EXPECT_FALSE(fs::exists(results_folder()));
}

TEST_F(Run, WorkerStartedByHandSaysSo) {
  EXPECT_EQ(call(LONGATTN_PROGRAM, {"__worker"}), 65);
  EXPECT_NE(err().find("started by `run`"), std::string::npos) << err();
}

}  // namespace
}  // namespace longattn
