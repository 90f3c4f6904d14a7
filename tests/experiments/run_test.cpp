// The whole program, run as a user runs it: real worker processes, real signals.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "experiments/journal.h"
#include "experiments/report/csv.h"
#include "experiments/results.h"
#include "experiments/serialize.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Run : public testing::Test {
 protected:
  fs::path write_config(const std::string& variants, const std::string& rest = "") {
    const fs::path path = folder_ / "config.yaml";
    std::ofstream(path) << "longattn: 1\nname: test\nthreads: 1\ninputs: [{gaussian: {}}]\n"
                           "problem: {lengths: [40], num_heads: 2, head_dim: 8}\n"
                        << "variants: " << variants << "\n"
                        << rest << "\n";
    return path;
  }

  pid_t start(const std::string& program, std::vector<std::string> arguments) {
    const pid_t child = fork();
    if (child == 0) {
      const int out = open((folder_ / "stdout").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      const int err = open((folder_ / "stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      dup2(out, STDOUT_FILENO);
      dup2(err, STDERR_FILENO);
      arguments.insert(arguments.begin(), program);
      std::vector<char*> pointers;
      for (std::string& argument : arguments) pointers.push_back(argument.data());
      pointers.push_back(nullptr);
      execv(program.c_str(), pointers.data());
      _exit(127);
    }
    return child;
  }
  int finish(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int call(const std::string& program, const std::vector<std::string>& arguments) {
    return finish(start(program, arguments));
  }
  // The process that `parent` has started, or 0.
  static pid_t child_of(pid_t parent) {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string status = slurp(entry.path() / "status");
      if (status.find("\nPPid:\t" + std::to_string(parent) + "\n") == std::string::npos) continue;
      return std::stoi(entry.path().filename().string());
    }
    return 0;
  }
  std::string out() const { return slurp(folder_ / "stdout"); }
  std::string err() const { return slurp(folder_ / "stderr"); }
  std::string results_folder() const { return (folder_ / "results").string(); }

  std::map<std::string, CellResult> results() const {
    std::map<std::string, CellResult> by_variant;
    for (const CellResult& cell : results_from_folder(results_folder()).cells) {
      by_variant[cell.cell.variant] = cell;
    }
    return by_variant;
  }

  const TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

constexpr const char* kFaulty = LONGATTN_FAULTY_PROGRAM;
constexpr const char* kQuick = "measure: {rounds: 2, min_time: 1ms, error_rows: 16}";

TEST_F(Run, TurnsEachFailureIntoARowAndGoesOn) {
  const fs::path config = write_config(
      "[full, crashes, killed, hangs, greedy, nans, one_nan, wrong, throws, writes_inputs, floods, "
      "chatters, leaves_child]",
      std::string(kQuick) + "\nlimits: {time: 2s, memory: 300MiB}");
  EXPECT_EQ(call(kFaulty, {"run", config.string(), "--output", results_folder()}), 1) << err();
  const auto cells = results();
  ASSERT_EQ(cells.size(), 13u);
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
#endif
  expect("nans", Status::nan, "NaN");
  expect("one_nan", Status::nan, "1 of 80 output rows");
  expect("floods", Status::crash, "signal 6");
  expect("wrong", Status::nonconforming, "its own definition");
  expect("throws", Status::crash, "a variant's own words");
  expect("writes_inputs", Status::crash, "");
  for (const char* healthy : {"full", "chatters", "leaves_child"}) {
    const CellResult& cell = cells.at(healthy);
    EXPECT_EQ(cell.status, Status::ok) << cell.reason;
    ASSERT_TRUE(cell.time_s) << healthy;
    EXPECT_EQ(cell.round_seconds.size(), 2u);
    EXPECT_GT(cell.time_s->value, 0);
    EXPECT_LE(*cell.implementation_ratio, 1);
    EXPECT_EQ(cell.sampled_rows, 16);
  }
  EXPECT_EQ(out().find("noise on standard output"), std::string::npos);
  // What a failed worker said is kept, no more than its end, and never reaches the terminal raw.
  const std::string journal = slurp(folder_ / "results" / "journal.jsonl");
  EXPECT_NE(journal.find("\"log\":\"longattn: error: internal: a variant's own words"),
            std::string::npos);
  EXPECT_LT(journal.size(), 1u << 20);
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
  const fs::path journal = folder_ / "results" / "journal.jsonl";
  for (int n = 0; n < 600 && slurp(journal).find("\"kind\":\"error\"") == std::string::npos; ++n) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
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
  const fs::path journal = folder_ / "results" / "journal.jsonl";
  for (int n = 0; n < 600 && slurp(journal).find("\"kind\":\"error\"") == std::string::npos; ++n) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  pid_t worker = 0;
  for (int n = 0; n < 200 && worker == 0; ++n) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    worker = child_of(run);
  }
  ASSERT_NE(worker, 0);
  kill(run, SIGKILL);
  EXPECT_EQ(finish(run), -SIGKILL);
  EXPECT_EQ(results().at("zero").sampled_rows, 16);
  bool alive = true;
  for (int n = 0; n < 100 && alive; ++n) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    alive = kill(worker, 0) == 0;
  }
  EXPECT_FALSE(alive) << "a worker outlived its run";
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
