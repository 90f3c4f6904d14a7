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
#include <regex>

#include "experiments/results.h"
#include "tests/experiments/run_testing.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

class Faults : public RunTest {
 protected:
  fs::path small_config() { return write_config("[full, nans, zero]", kQuick); }
};

class InjectedFaults : public Faults {
 protected:
  void SetUp() override { skip_with_sanitizers(); }
};

TEST_F(InjectedFaults, OfTheDiskEndTheRunWithTheFreeBytesAndAWholeJournal) {
  const fs::path config = small_config();
  for (const auto& [fault, reason] : {std::pair("full 3", "No space left on device ("),
                                      std::pair("broken 3", "Input/output error ("),
                                      std::pair("quota 3", "Disk quota exceeded ("),
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

// All of them are made from the journal, which stays as it is.
TEST_F(InjectedFaults, OfTheDiskUnderTheResultsFilesLoseNothing) {
  const fs::path config = write_config("[full, zero]", kQuick);
  // The first two writes are the journal's head and config.yaml.
  EXPECT_EQ(call_with_fault("file 3", run_of(config)), 74) << err();
  EXPECT_NE(err().find("/results.csv: cannot write: Input/output error"), std::string::npos)
      << err();
  EXPECT_NE(err().find("longattn report " + results_folder()), std::string::npos) << err();
  EXPECT_NE(out().find("full"), std::string::npos) << "the table";
  const std::string whole = journal();
  EXPECT_NE(whole.find(R"("status":"complete")"), std::string::npos);
  for (const auto& [fault, reason] :
       {std::pair("files 1", "Disk quota exceeded"), std::pair("files 4", "Disk quota exceeded"),
        std::pair("file 6", "Input/output error")}) {
    EXPECT_EQ(call_with_fault(fault, {"report", results_folder()}), 74) << fault;
    EXPECT_NE(err().find(std::string(": cannot write: ") + reason), std::string::npos) << err();
    EXPECT_EQ(journal(), whole) << fault;
    for (const auto& entry : fs::directory_iterator(results_folder())) {
      EXPECT_NE(entry.path().extension(), ".tmp") << fault;
    }
  }
  EXPECT_EQ(call(kFaulty, {"report", results_folder()}), 0) << err();
  EXPECT_TRUE(fs::exists(folder_ / "results" / "report.html"));
}

// A worker would get its inputs by memfd_create, where this one would be killed.
TEST_F(InjectedFaults, AreNotReachedWhenCtrlCIsTypedWhileInputsAreMade) {
  const fs::path config = write_config(
      "[zero]", "measure: {rounds: 1, error: false, memory: false, patterns: false}", "[4000000]");
  const pid_t run =
      start(kFaulty,
            run_of(config, {"--set", "problem.head_dim=64", "--set", "problem.dtype=bfloat16",
                            "--set", "limits.memory=64GiB"}),
            {{"LD_PRELOAD", LONGATTN_FAULTS}, {"LONGATTN_FAULT", "unmade 0"}});
  ASSERT_TRUE(eventually([&] { return err().find("making inputs") != std::string::npos; }));
  kill(run, SIGINT);
  EXPECT_EQ(finish(run), 130) << err();
  EXPECT_NE(err().find("interrupted after 0 of 1 measurements"), std::string::npos) << err();
  EXPECT_NE(journal().find(R"("status":"interrupted")"), std::string::npos);
  EXPECT_EQ(results().at("zero").status, Status::skipped);
  EXPECT_TRUE(fs::exists(folder_ / "results" / "report.html"));
}

TEST_F(InjectedFaults, OfShortAndInterruptedWritesLeaveNoTrace) {
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

TEST_F(InjectedFaults, OfAFileSystemWithoutLocksAreAWarning) {
  EXPECT_EQ(call_with_fault("unlockable 0", run_of(small_config(), {"--no-report"})), 1) << err();
  EXPECT_NE(err().find("warning: " + results_folder() + ": cannot be locked"), std::string::npos)
      << err();
  EXPECT_EQ(results().at("full").status, Status::ok);
}

TEST_F(InjectedFaults, OfTheWallClockTouchNoDuration) {
  EXPECT_EQ(call_with_fault("backwards 0", run_of(small_config(), {"--no-report"})), 1) << err();
  const CellResult full = results().at("full");
  for (double seconds : full.round_seconds) {
    EXPECT_GT(seconds, 0);
    EXPECT_LT(seconds, 60);
  }
  EXPECT_FALSE(std::regex_search(err(), std::regex(" -[0-9]"))) << "negative? " << err();
}

TEST_F(InjectedFaults, OfTwoRunsInOneSecondAreTwoFolders) {
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

class Terminal : public RunTest {
 protected:
  static pid_t start_in_terminal(const Arguments& arguments, int& terminal,
                                 const Environment& environment = {},
                                 const winsize* size = nullptr) {
    const pid_t child = forkpty(&terminal, nullptr, nullptr, size);
    if (child != 0) return child;
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> pointers = {const_cast<char*>(kFaulty)};
    for (const std::string& a : arguments) pointers.push_back(const_cast<char*>(a.c_str()));
    pointers.push_back(nullptr);
    execv(kFaulty, pointers.data());
    _exit(127);
  }

  // What the tool writes to a terminal of this kind, 40 columns wide.
  std::string shown(const Arguments& arguments, const Environment& environment) {
    int terminal = -1;
    const winsize size{.ws_row = 24, .ws_col = 40, .ws_xpixel = 0, .ws_ypixel = 0};
    const pid_t child = start_in_terminal(arguments, terminal, environment, &size);
    const std::string text = all_of(terminal);
    code_ = finish(child);
    return text;
  }
  static std::string all_of(int terminal) {
    std::string text;
    char buffer[4096];
    for (ssize_t count; (count = read(terminal, buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<size_t>(count));
    }
    close(terminal);
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

// The whole group in the foreground gets the signal; a worker is in a group of its own.
TEST_F(Terminal, OnWhichCtrlCIsTypedEndsTheRunInOrder) {
  const fs::path config =
      write_config("[zero, hangs]", std::string(kQuick) + "\nlimits: {time: 60s}");
  int terminal = -1;
  const pid_t child = start_in_terminal(run_of(config, {"--no-report"}), terminal);
  ASSERT_TRUE(eventually([&] { return journal().find(R"("kind":"error")") != std::string::npos; }));
  ASSERT_EQ(write(terminal, "\x03", 1), 1);
  const std::string text = all_of(terminal);
  EXPECT_EQ(finish(child), 130) << text;
  EXPECT_NE(text.find("interrupted after 1 of 8 measurements"), std::string::npos) << text;
  EXPECT_EQ(results().at("hangs").status, Status::skipped) << results().at("hangs").reason;
}

TEST_F(Terminal, ThatGoesAwayEndsTheRunInOrder) {
  const fs::path config =
      write_config("[zero, hangs]", std::string(kQuick) + "\nlimits: {time: 60s}");
  int terminal = -1;
  const pid_t child = start_in_terminal(run_of(config), terminal);
  ASSERT_TRUE(eventually([&] { return journal().find(R"("kind":"error")") != std::string::npos; }));
  close(terminal);
  EXPECT_EQ(finish(child), 129);
  EXPECT_NE(journal().find(R"("status":"interrupted")"), std::string::npos);
  EXPECT_TRUE(fs::exists(folder_ / "results" / "report.html"));
}

}  // namespace
}  // namespace longattn
