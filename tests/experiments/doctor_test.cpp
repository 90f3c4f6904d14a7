#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "experiments/machine_check.h"
#include "tests/experiments/command_testing.h"
#include "tests/experiments/run_testing.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;
using State = MachineFact::State;

// A machine made of files.
class Machine : public testing::Test {
 protected:
  void file(const std::string& path, const std::string& text) {
    const fs::path whole = fs::path(folder_.path()) / path;
    fs::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  MachineFact fact(const std::string& subject) const {
    for (const MachineFact& found : examine_machine(folder_.path())) {
      if (found.subject == subject) return found;
    }
    ADD_FAILURE() << subject;
    return {};
  }
  void expect(const std::string& subject, State state, const std::string& found) const {
    const MachineFact it = fact(subject);
    EXPECT_EQ(it.state, state) << subject << ": " << it.found;
    EXPECT_NE(it.found.find(found), std::string::npos) << subject << ": " << it.found;
    EXPECT_EQ(it.advice.empty(), state != State::disturbs) << subject << ": " << it.advice;
  }
  const TemporaryFolder folder_;
};

TEST_F(Machine, ThatShowsNothingIsUnknownAndNotFine) {
  for (const char* subject : {"governor", "turbo", "hyperthreads", "load", "swap", "huge pages",
                              "virtual machine", "clock"}) {
    expect(subject, State::unknown, "");
  }
  expect("processor quota", State::fine, "none");
}

TEST_F(Machine, AtRestIsFine) {
  const std::string cpu = "sys/devices/system/cpu/";
  file(cpu + "cpu0/cpufreq/scaling_governor", "performance\n");
  file(cpu + "intel_pstate/no_turbo", "1\n");
  file(cpu + "smt/active", "0\n");
  file("proc/loadavg", "0.08 0.60 1.20 1/120 4711\n");
  file("proc/meminfo", "MemTotal: 8000 kB\nSwapTotal:  1000 kB\nSwapFree:  1000 kB\n");
  file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  file("proc/self/cgroup", "0::/user.slice\n");
  file("sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
  file("proc/cpuinfo", "flags : fpu avx2 avx512f\n");
  file("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
  for (const MachineFact& found : examine_machine(folder_.path())) {
    if (found.subject == "build") continue;
    EXPECT_EQ(found.state, State::fine) << found.subject << ": " << found.found;
  }
}

TEST_F(Machine, ThatDisturbsIsToldWithWhatToDo) {
  const std::string cpu = "sys/devices/system/cpu/";
  file(cpu + "cpu0/cpufreq/scaling_governor", "performance\n");
  file(cpu + "cpu1/cpufreq/scaling_governor", "powersave\n");
  file(cpu + "cpufreq/boost", "1\n");
  file(cpu + "smt/active", "1\n");
  file("proc/loadavg", "1.75 0.60 1.20 1/120 4711\n");
  file("proc/meminfo", "SwapTotal:  5120 kB\nSwapFree:  2048 kB\n");
  file("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
  file("proc/cpuinfo", "flags : fpu hypervisor avx2\n");
  file("proc/stat", "cpu  50 0 20 100 0 0 0 30 0 0\n");
  file("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
  expect("governor", State::disturbs, "powersave on 1 of 2 processors");
  expect("turbo", State::disturbs, "on");
  EXPECT_NE(fact("turbo").advice.find("cpufreq/boost"), std::string::npos);
  expect("hyperthreads", State::disturbs, "on");
  expect("load", State::disturbs, "1.75");
  expect("swap", State::disturbs, "3 MiB");
  expect("huge pages", State::disturbs, "always");
  expect("virtual machine", State::disturbs, "15.00 %");
  expect("clock", State::disturbs, "hpet");
}

TEST_F(Machine, QuotasOfAnyGroupAboveCountInBothHierarchies) {
  file("proc/self/cgroup", "0::/docker/1234\n");
  file("sys/fs/cgroup/docker/cpu.max", "150000 100000\n");
  file("sys/fs/cgroup/docker/1234/cpu.max", "max 100000\n");
  expect("processor quota", State::disturbs, "1.5 processors");
  file("proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/1234\n");
  expect("processor quota", State::fine, "none");
  file("sys/fs/cgroup/cpu/docker/1234/cpu.cfs_quota_us", "50000\n");
  file("sys/fs/cgroup/cpu/docker/1234/cpu.cfs_period_us", "100000\n");
  expect("processor quota", State::disturbs, "0.5 processors");
  file("sys/fs/cgroup/cpu/docker/1234/cpu.cfs_quota_us", "-1\n");
  expect("processor quota", State::fine, "none");
}

TEST(Doctor, NamesAProcessThatIsBusy) {
  const pid_t busy = fork();
  if (busy == 0) {
    while (true) getppid();
  }
  const MachineFact found = find_busy_processes(0.3);
  kill(busy, SIGKILL);
  RunTest::finish(busy);
  EXPECT_EQ(found.state, State::disturbs);
  EXPECT_NE(found.found.find("(process " + std::to_string(busy) + ", "), std::string::npos)
      << found.found;
}

TEST(Doctor, SaysTheSameToPeopleAndPrograms) {
  const CommandResult people = run_command({"doctor"}),
                      programs = run_command({"doctor", "--json"});
  EXPECT_EQ(people.err + programs.err, "");
  const auto facts = nlohmann::json::parse(programs.out);
  EXPECT_EQ(facts.size(), 11u);
  bool disturbed = false;
  for (const auto& fact : facts) {
    disturbed |= fact["state"] == "disturbs";
    EXPECT_EQ(fact.contains("advice"), fact["state"] == "disturbs") << fact;
    EXPECT_NE(people.out.find(" " + fact["subject"].get<std::string>() + " "), std::string::npos);
  }
  EXPECT_EQ(programs.code, disturbed ? 1 : 0);
}

}  // namespace
}  // namespace longattn
