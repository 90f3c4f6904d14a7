// The system fails: disks, clocks, locks, pipes, terminals, memory.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "experiments/results.h"
#include "tests/experiments/run_testing.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class Faults : public RunTest {
 protected:
  fs::path small_config() { return write_config("[full, nans, zero]", kQuick); }
};

TEST_F(Faults, OfTheDiskEndTheRunWithTheFreeBytesAndAWholeJournal) {
  if (!kCanInjectFaults) GTEST_SKIP() << "sanitizers do not let a library be loaded before them";
  const fs::path config = small_config();
  for (const auto& [fault, reason] : {std::pair("full 3", "No space left on device ("),
                                      std::pair("unsynced 3", "Input/output error (")}) {
    EXPECT_EQ(call_with_fault(fault, run_of(config)), 74) << fault;
    EXPECT_NE(err().find("journal.jsonl: cannot append a record"), std::string::npos) << err();
    EXPECT_NE(err().find(reason), std::string::npos) << err();
    EXPECT_NE(err().find(" bytes free)"), std::string::npos) << err();
    EXPECT_NE(err().find("--resume " + results_folder()), std::string::npos) << err();
    EXPECT_TRUE(journal().ends_with("\n")) << "the torn record was not cut off";
    EXPECT_EQ(results().at("full").sampled_rows, 16);
    EXPECT_EQ(call(kFaulty, resume()), 1) << err();
    EXPECT_EQ(results().at("zero").round_seconds.size(), 2u);
    fs::remove_all(results_folder());
  }
}

TEST_F(Faults, OfAFullDiskAreSurvivedOnARealOne) {
  const fs::path disk = folder_ / "disk";
  fs::create_directory(disk);
  if (mount("none", disk.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "mounting is not permitted here";
  }
  const std::string folder = (disk / "run").string();
  const fs::path config = small_config();
  // What is left is room for the head of the journal, and no more than a few records.
  const std::string ballast(size_t{1} << 20, 'x');
  {
    std::ofstream file(disk / "ballast", std::ios::binary);
    file << ballast.substr(0, ballast.size() - 16 * 1024);
  }
  EXPECT_EQ(call(kFaulty, {"run", config.string(), "--output", folder, "--no-report"}), 74);
  EXPECT_NE(err().find("No space left on device (0 bytes free)"), std::string::npos) << err();
  fs::remove(disk / "ballast");
  EXPECT_EQ(call(kFaulty, {"run", "--resume", folder, "--no-report"}), 1) << err();
  const std::string found = findings_of(folder);
  umount(disk.c_str());
  EXPECT_EQ(call(kFaulty, run_of(config, {"--no-report"})), 1);
  EXPECT_EQ(found, findings_of(results_folder()));
}

TEST_F(Faults, OfShortAndInterruptedWritesLeaveNoTrace) {
  if (!kCanInjectFaults) GTEST_SKIP() << "sanitizers do not let a library be loaded before them";
  const fs::path config = small_config();
  EXPECT_EQ(call_with_fault("pieces 0", run_of(config, {"--no-report"})), 1) << err();
  const std::string found = findings_of(results_folder());
  fs::remove_all(results_folder());
  EXPECT_EQ(call(kFaulty, run_of(config, {"--no-report"})), 1) << err();
  EXPECT_EQ(found, findings_of(results_folder()));
}

TEST_F(Faults, OfTheOutputFolderAreFoundBeforeAnythingIsMeasured) {
  const fs::path config = small_config();
  std::ofstream(folder_ / "file") << "a file";
  for (const std::string& folder :
       {(folder_ / "file").string(), (folder_ / "file" / "below").string(),
        std::string("/proc/longattn")}) {
    EXPECT_EQ(call(kProgram, {"run", write_config("[zero]", kQuick), "--output", folder}), 73)
        << folder;
    EXPECT_NE(err().find(folder + ": cannot create the folder"), std::string::npos) << err();
    EXPECT_EQ(err().find("making inputs"), std::string::npos) << err();
  }
}

TEST_F(Faults, OfAFileSystemWithoutLocksAreAWarning) {
  if (!kCanInjectFaults) GTEST_SKIP() << "sanitizers do not let a library be loaded before them";
  EXPECT_EQ(call_with_fault("unlockable 0", run_of(small_config(), {"--no-report"})), 1) << err();
  EXPECT_NE(err().find("warning: " + results_folder() + ": cannot be locked"), std::string::npos)
      << err();
  EXPECT_EQ(results().at("full").status, Status::ok);
}

TEST_F(Faults, OfTheWallClockTouchNoDuration) {
  if (!kCanInjectFaults) GTEST_SKIP() << "sanitizers do not let a library be loaded before them";
  EXPECT_EQ(call_with_fault("backwards 0", run_of(small_config(), {"--no-report"})), 1) << err();
  for (double seconds : results().at("full").round_seconds) {
    EXPECT_GT(seconds, 0);
    EXPECT_LT(seconds, 60);
  }
  EXPECT_FALSE(std::regex_search(err(), std::regex(" -[0-9]"))) << "negative? " << err();
}

TEST_F(Faults, OfTwoRunsInOneSecondAreTwoFolders) {
  if (!kCanInjectFaults) GTEST_SKIP() << "sanitizers do not let a library be loaded before them";
  const fs::path config = write_config("[zero]", kQuick);
  const std::string there = "cd " + folder_.string() + " && exec \"$0\" run " + config.string();
  for (int n = 0; n < 3; ++n) {
    ASSERT_EQ(call("/bin/sh", {"-c", there, kProgram},
                   {{"LD_PRELOAD", LONGATTN_FAULTS}, {"LONGATTN_FAULT", "frozen 0"}}),
              0)
        << err();
  }
  const fs::path folder = folder_ / "results" / "test";
  for (const char* name : {"20231114T221320Z", "20231114T221320Z-2", "20231114T221320Z-3"}) {
    EXPECT_TRUE(fs::exists(folder / name / "report.html")) << name;
  }
}

TEST_F(Faults, OfAClosedPipeAreQuiet) {
  EXPECT_EQ(call(kFaulty, run_of(small_config(), {"--no-report"})), 1) << err();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  const std::string to = "exec \"$@\" >&" + std::to_string(ends[1]);
  for (const Arguments& command :
       {Arguments{"list"}, Arguments{"report", results_folder()}, resume({"--json"})}) {
    Arguments shell = {"-c", to, "sh", kFaulty};
    shell.insert(shell.end(), command.begin(), command.end());
    EXPECT_EQ(call("/bin/sh", shell), -SIGPIPE) << command[0];
    EXPECT_EQ(err().find("error"), std::string::npos) << err();
  }
  close(ends[1]);
}

// Worker and run share 96 MiB: the kernel ends the worker, the larger one.
TEST_F(Faults, OfTheSystemsMemoryAreToldFromACrash) {
  const bool unified = fs::exists("/sys/fs/cgroup/cgroup.controllers");
  const fs::path group = fs::path(unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory") /
                         ("longattn-test-" + std::to_string(getpid()));
  std::error_code error;
  fs::create_directory(group, error);
  const fs::path limit = group / (unified ? "memory.max" : "memory.limit_in_bytes");
  std::ofstream(limit) << (96 << 20);
  if (error || slurp(limit) != std::to_string(96 << 20) + "\n") {
    fs::remove(group, error);
    GTEST_SKIP() << "memory of a group cannot be limited here";
  }
  if (unified) std::ofstream(group / "memory.swap.max") << 0;
  const fs::path config = write_config("[greedy, zero]", kQuick);
  Arguments shell = {"-c", "echo $$ >" + (group / "cgroup.procs").string() + " && exec \"$@\"",
                     "sh", kFaulty};
  for (const std::string& argument : run_of(config, {"--no-report"})) shell.push_back(argument);
  EXPECT_EQ(call("/bin/sh", shell), 1) << err();
  EXPECT_EQ(results().at("greedy").status, Status::oom) << results().at("greedy").reason;
  EXPECT_NE(results().at("greedy").reason.find("killed by the system"), std::string::npos)
      << results().at("greedy").reason;
  EXPECT_EQ(results().at("zero").status, Status::ok);
  eventually([&] { return fs::remove(group, error); });
}

TEST_F(Faults, OfValuesOfZeroLeaveTheRelativeErrorOut) {
  // A trace of zeros: an error relative to nothing is undefined, the absolute one is not.
  const std::string header =
      R"({"layers.0.queries":{"dtype":"F32","shape":[1,16,4],"data_offsets":[0,256]},)"
      R"("layers.0.keys":{"dtype":"F32","shape":[1,16,4],"data_offsets":[256,512]},)"
      R"("layers.0.values":{"dtype":"F32","shape":[1,16,4],"data_offsets":[512,768]}})";
  std::ofstream file(folder_ / "zeros.safetensors", std::ios::binary);
  const std::uint64_t size = header.size();
  file.write(reinterpret_cast<const char*>(&size), sizeof size);
  file << header << std::string(768, '\0');
  file.close();
  const fs::path config = folder_ / "config.yaml";
  std::ofstream(config) << "longattn: 1\nname: test\nthreads: 1\n"
                           "inputs: [{trace: zeros.safetensors, layer: 0}]\n"
                           "problem: {lengths: [16]}\nvariants: [full, {longformer: {window: 3}}]\n"
                        << kQuick << "\n";
  EXPECT_EQ(call(kProgram, run_of(config)), 0) << err();
  for (const char* variant : {"full", "longformer"}) {
    EXPECT_FALSE(results().at(variant).relative_error) << variant;
    EXPECT_EQ(*results().at(variant).max_abs_error, 0) << variant;
    EXPECT_TRUE(results().at(variant).time_s) << variant;
  }
}

TEST_F(Faults, OfTheInputsAreToldFromThoseOfTheVariant) {
  std::string header =
      R"({"layers.0.queries":{"dtype":"F32","shape":[1,16,4],"data_offsets":[0,256]},)"
      R"("layers.0.keys":{"dtype":"F32","shape":[1,16,4],"data_offsets":[256,512]},)"
      R"("layers.0.values":{"dtype":"F32","shape":[1,16,4],"data_offsets":[512,768]}})";
  std::ofstream file(folder_ / "nan.safetensors", std::ios::binary);
  const std::uint64_t size = header.size();
  file.write(reinterpret_cast<const char*>(&size), sizeof size);
  std::string data(768, '\0');
  data[600 + 2] = '\xc0';
  data[600 + 3] = '\x7f';  // one NaN among the values
  file << header << data;
  file.close();
  const fs::path config = folder_ / "config.yaml";
  std::ofstream(config) << "longattn: 1\nname: test\nthreads: 1\n"
                           "inputs: [{trace: nan.safetensors, layer: 0}]\n"
                           "problem: {lengths: [16]}\nvariants: [full]\n"
                        << kQuick << "\n";
  EXPECT_EQ(call(kProgram, run_of(config)), 1) << err();
  EXPECT_EQ(results().at("full").status, Status::nan);
  EXPECT_NE(results().at("full").reason.find("look at the inputs"), std::string::npos)
      << results().at("full").reason;
}

TEST_F(Faults, OfTheShortestProblemsAreNone) {
  const fs::path config = write_config(
      "[full, blockwise, {longformer: {window: 64}}, bigbird, sparse_transformer, "
      "reformer, ring, adaptive_span, mean_value]",
      kQuick, "[1, 2, 3, 7]");
  EXPECT_EQ(call(kProgram, run_of(config, {"--no-report"})), 0) << err();
  for (const CellResult& cell : results_from_folder(results_folder()).cells) {
    EXPECT_TRUE(cell.status == Status::ok || !cell.reason.empty()) << cell.cell.variant;
    EXPECT_FALSE(cell.nondeterministic) << cell.cell.variant;
  }
}

class German : public RunTest {
 protected:
  // Decimal commas and grouped thousands in the C++ locale, and in that of C where the language can
  // be made.
  Environment german() {
    const std::string folder = (folder_ / "locales").string();
    fs::create_directory(folder);
    const std::string make = "localedef -i de_DE -f UTF-8 " + folder + "/de_DE.UTF-8";
    call("/bin/sh", {"-c", make});
    return {{"LONGATTN_TEST_GERMAN", "1"},
            {"LOCPATH", folder},
            {"LANG", "de_DE.UTF-8"},
            {"LC_ALL", "de_DE.UTF-8"}};
  }

  // Every file but the journal; a PDF has its date in it.
  std::string files_of_the_report() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(results_folder())) {
      const std::string name = entry.path().filename().string();
      if (!entry.is_regular_file() || name == "journal.jsonl" || name == "LOCK") continue;
      if (entry.path().extension() != ".pdf") files[name] = slurp(entry.path());
    }
    std::string all;
    for (const auto& [name, text] : files) all += name + ":\n" + text;
    return all;
  }

  // What the journal says of each cell before it is measured, to the byte.
  std::string planned_in_the_journal() const {
    std::istringstream lines(journal());
    std::string cells;
    for (std::string line; std::getline(lines, line);) {
      if (line.find(R"("kind":"cell")") != std::string::npos) cells += line + "\n";
    }
    EXPECT_EQ(std::ranges::count(cells, '\n'), 4);
    return cells;
  }

  // What does not change with the speed of the machine of what `plan` prints: the columns of
  // length, FLOP and pairs, and the cells without predicted times.
  std::string planned(const Environment& environment, const fs::path& config) {
    std::string text;
    EXPECT_EQ(call(kFaulty, {"plan", config.string()}, environment), 0) << err();
    std::istringstream lines(out());
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("   ")) text += line.substr(0, 34) + "\n";
    }
    EXPECT_EQ(call(kFaulty, {"plan", config.string(), "--json"}, environment), 0) << err();
    auto cells = nlohmann::json::parse(out()).at("cells");
    for (auto& cell : cells) cell.erase("predicted_s");
    EXPECT_EQ(cells.size(), 4u);
    return text + cells.dump();
  }
};

TEST_F(German, ChangesNoByteOfAnyOutput) {
  const fs::path config = write_config(
      "[full, {longformer: {window: 3}}]",
      "measure: {rounds: 2, min_time: 1.5ms, error_rows: 16}\nlimits: {memory: 1.5GiB}",
      "[1024, 2048]");
  const Environment language = german();
  EXPECT_EQ(call(kFaulty, run_of(config), language), 0) << err();
  const auto everything = [&](const Environment& environment) {
    std::string all;
    for (const Arguments& command :
         {Arguments{"describe", "longformer"}, Arguments{"report", results_folder()},
          Arguments{"report", results_folder(), "--format", "json"}}) {
      EXPECT_EQ(call(kFaulty, command, environment), 0) << err();
      all += out() + err();
    }
    return all + planned(environment, config) + files_of_the_report();
  };
  const std::string plain = everything({}), foreign = everything(language);
  EXPECT_TRUE(plain == foreign)
      << "they part at byte "
      << std::mismatch(plain.begin(), plain.end(), foreign.begin(), foreign.end()).first -
             plain.begin();
  for (const char* name : {"results.csv", "results.jsonl", "results.md", "results.tex",
                           "samples.csv", "scaling.csv", "report.html", ".svg", ".tsv", ".gp"}) {
    EXPECT_NE(plain.find(std::string(name) + ":\n"), std::string::npos) << name;
  }
  // And what it measured and wrote down is what anybody does.
  const std::string found = findings_of(results_folder()), cells = planned_in_the_journal();
  EXPECT_FALSE(std::regex_search(err() + journal(), std::regex("[0-9],[0-9]+ (s|ms|%)")));
  fs::remove_all(results_folder());
  EXPECT_EQ(call(kFaulty, run_of(config, {"--no-report"})), 0) << err();
  EXPECT_EQ(found, findings_of(results_folder()));
  EXPECT_EQ(cells, planned_in_the_journal());
}

class Terminal : public RunTest {
 protected:
  // What the tool writes to a terminal of this kind, 40 columns wide.
  std::string shown(const Arguments& arguments, const Environment& environment) {
    int terminal = -1;
    const winsize size{.ws_row = 24, .ws_col = 40, .ws_xpixel = 0, .ws_ypixel = 0};
    const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
    if (child == 0) {
      for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
      std::vector<char*> pointers = {const_cast<char*>(kFaulty)};
      for (const std::string& a : arguments) pointers.push_back(const_cast<char*>(a.c_str()));
      pointers.push_back(nullptr);
      execv(kFaulty, pointers.data());
      _exit(127);
    }
    std::string text;
    char buffer[4096];
    for (ssize_t count; (count = read(terminal, buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<size_t>(count));
    }
    close(terminal);
    code_ = finish(child);
    return text;
  }
  int code_ = 0;
};

TEST_F(Terminal, ShowsOneLineThatIsRedrawnAndFits) {
  const fs::path config = write_config("[full, nans, {longformer: {window: 3}}]", kQuick);
  const std::string text = shown(run_of(config, {"--no-report"}), {{"TERM", "xterm"}});
  EXPECT_EQ(code_, 1);
  EXPECT_TRUE(std::regex_search(text, std::regex("[0-9]+/[0-9]+, about [0-9]+ s left  "))) << text;
  // What is redrawn fits into the 40 columns: from one clearing of the line to the next.
  const std::string clear = "\r\x1b[K";
  int drawn = 0;
  for (size_t at = text.find(clear), next; at != std::string::npos; at = next) {
    next = text.find(clear, at + clear.size());
    const std::string line = text.substr(at + clear.size(), next - at - clear.size());
    if (next == std::string::npos || line.find('\n') != std::string::npos) continue;
    ++drawn;
    EXPECT_LT(line.size(), 40u) << line;
  }
  EXPECT_GT(drawn, 8);
  EXPECT_NE(text.find("nans 40 tokens: error nan: "), std::string::npos) << text;
}

TEST_F(Terminal, IsSpokenToPlainlyWhereItIsNone) {
  const fs::path config = write_config("[full, nans]", kQuick);
  for (const Environment& environment : {Environment{{"TERM", "dumb"}}, Environment{{"TERM", ""}},
                                         Environment{{"TERM", "xterm"}, {"NO_COLOR", "1"}}}) {
    const std::string text = shown(run_of(config, {"--no-report"}), environment);
    EXPECT_EQ(code_, 1);
    // Colours there are none in any case; the redrawn line is no colour.
    EXPECT_FALSE(std::regex_search(text, std::regex("\x1b\\[[0-9;]*m"))) << text;
    if (environment.at("TERM") != "xterm") {
      EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
    }
    fs::remove_all(results_folder());
  }
  EXPECT_EQ(call(kFaulty, run_of(config, {"--no-report"}), {{"TERM", "xterm"}}), 1);
  EXPECT_EQ((out() + err()).find_first_of("\x1b\r"), std::string::npos) << err();
  EXPECT_NE(err().find(" measurements"), std::string::npos) << err();
}

TEST_F(Terminal, ThatGoesAwayEndsTheRunInOrder) {
  const fs::path config =
      write_config("[zero, hangs]", std::string(kQuick) + "\nlimits: {time: 60s}");
  int terminal = -1;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) {
    execl(kFaulty, kFaulty, "run", config.c_str(), "--output", results_folder().c_str(), nullptr);
    _exit(127);
  }
  ASSERT_TRUE(eventually([&] { return journal().find(R"("kind":"error")") != std::string::npos; }));
  close(terminal);
  EXPECT_EQ(finish(child), 129);
  EXPECT_NE(journal().find(R"("status":"interrupted")"), std::string::npos);
  EXPECT_TRUE(fs::exists(folder_ / "results" / "report.html"));
}

}  // namespace
}  // namespace longattn
