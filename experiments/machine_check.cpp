#include "experiments/machine_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

#include "core/io/text.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;
using State = MachineFact::State;

constexpr double kQuietLoad = 0.3, kBusyShare = 0.05;

// First line of a small file; empty when there is none.
std::string line_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The number at the start of a text, whatever the locale.
double number(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
  double value = 0;
  std::from_chars(text.data() + begin, text.data() + text.size(), value);
  return value;
}

// The number behind a name, as in "SwapTotal:   123 kB".
double value_of(const std::string& text, const std::string& name) {
  const size_t at = text.find(name);
  return at == std::string::npos ? 0 : number(std::string_view(text).substr(at + name.size()));
}

MachineFact unknown(std::string subject, std::string why) {
  return {std::move(subject), State::unknown, std::move(why), ""};
}

MachineFact examine_build() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return {"build", State::disturbs, "with a sanitizer", "measure with ./dev build"};
#elif defined(NDEBUG)
  return {"build", State::fine, "optimised, without assertions", ""};
#else
  return {"build", State::disturbs, "with assertions", "measure with ./dev build"};
#endif
}

MachineFact examine_governor(const fs::path& root) {
  std::map<std::string, int> counts;
  int processors = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(root / "sys/devices/system/cpu", ignored)) {
    const std::string governor = line_of(entry.path() / "cpufreq/scaling_governor");
    if (governor.empty()) continue;
    ++processors;
    ++counts[governor];
  }
  if (processors == 0) return unknown("governor", "the kernel does not show one");
  const int quick = counts.contains("performance") ? counts["performance"] : 0;
  if (quick == processors) return {"governor", State::fine, "performance", ""};
  const auto other =
      std::ranges::find_if(counts, [](const auto& entry) { return entry.first != "performance"; });
  return {
      "governor", State::disturbs,
      fmt::format("{} on {} of {} processors", printable(other->first), other->second, processors),
      "sudo cpupower frequency-set -g performance"};
}

MachineFact examine_turbo(const fs::path& root) {
  const fs::path cpu = root / "sys/devices/system/cpu";
  const std::string off = line_of(cpu / "intel_pstate/no_turbo"),
                    boost = line_of(cpu / "cpufreq/boost");
  if (off.empty() && boost.empty()) return unknown("turbo", "the kernel does not show it");
  if (off == "1" || boost == "0") return {"turbo", State::fine, "off", ""};
  return {"turbo", State::disturbs, "on: the frequency depends on heat and on other cores",
          off.empty() ? "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost"
                      : "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"};
}

MachineFact examine_hyperthreads(const fs::path& root) {
  const std::string active = line_of(root / "sys/devices/system/cpu/smt/active");
  if (active.empty()) return unknown("hyperthreads", "the kernel does not show them");
  if (active != "1") return {"hyperthreads", State::fine, "off", ""};
  return {"hyperthreads", State::disturbs, "on: two threads may share one core",
          "set threads: to at most the number of cores, or: echo off | sudo tee "
          "/sys/devices/system/cpu/smt/control"};
}

MachineFact examine_load(const fs::path& root) {
  const std::string text = line_of(root / "proc/loadavg");
  if (text.empty()) return unknown("load", "no /proc/loadavg");
  const double load = number(text);
  const std::string found = fmt::format("{:.2f} over the last minute", load);
  if (load <= kQuietLoad) return {"load", State::fine, found, ""};
  return {"load", State::disturbs, found, "wait, or end what else is running"};
}

MachineFact examine_swap(const fs::path& root) {
  const std::string memory = text_of(root / "proc/meminfo");
  if (memory.empty()) return unknown("swap", "no /proc/meminfo");
  const double used = value_of(memory, "SwapTotal:") - value_of(memory, "SwapFree:");
  if (used <= 0) return {"swap", State::fine, "nothing in it", ""};
  return {"swap", State::disturbs, fmt::format("{:.3g} MiB in it", used / 1024),
          "end what takes the memory, or: sudo swapoff -a"};
}

MachineFact examine_huge_pages(const fs::path& root) {
  const std::string text = line_of(root / "sys/kernel/mm/transparent_hugepage/enabled");
  const size_t begin = text.find('['), end = text.find(']');
  if (begin == std::string::npos || end == std::string::npos || end < begin) {
    return unknown("huge pages", "the kernel does not show them");
  }
  const std::string chosen = text.substr(begin + 1, end - begin - 1);
  if (chosen != "always") return {"huge pages", State::fine, printable(chosen), ""};
  return {"huge pages", State::disturbs,
          "always: large buffers are fast or slow by what memory happens to be free",
          "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"};
}

// Processors' worth of time that the group of this process may use, if that is limited.
std::optional<double> processor_quota(const fs::path& root) {
  std::optional<double> smallest;
  const auto consider = [&](double quota, double period) {
    if (quota > 0 && period > 0) smallest = std::min(smallest.value_or(1e9), quota / period);
  };
  std::istringstream groups(text_of(root / "proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {
    // "4:cpu,cpuacct:/docker/1234", or "0::/user.slice" in the unified hierarchy.
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",cpu,") == std::string::npos) continue;
    const fs::path top = root / (unified ? "sys/fs/cgroup" : "sys/fs/cgroup/cpu");
    // A limit holds for all groups below it.
    for (fs::path group = line.substr(second + 1);; group = group.parent_path()) {
      const fs::path here = top / group.relative_path();
      const std::string limit = line_of(here / "cpu.max");
      consider(number(limit), number(limit.substr(std::min(limit.find(' '), limit.size()))));
      consider(number(line_of(here / "cpu.cfs_quota_us")),
               number(line_of(here / "cpu.cfs_period_us")));
      if (!group.has_relative_path()) break;
    }
  }
  return smallest;
}

MachineFact examine_quota(const fs::path& root) {
  const std::optional<double> quota = processor_quota(root);
  if (!quota) return {"processor quota", State::fine, "none", ""};
  return {
      "processor quota", State::disturbs,
      fmt::format("{:.3g} processors: beyond that this group is stopped for a while", *quota),
      "start the container without a processor limit (docker: without --cpus; cpusets are fine)"};
}

MachineFact examine_virtual_machine(const fs::path& root) {
  const std::string processors = text_of(root / "proc/cpuinfo");
  if (processors.empty()) return unknown("virtual machine", "no /proc/cpuinfo");
  if (processors.find(" hypervisor") == std::string::npos) {
    return {"virtual machine", State::fine, "no", ""};
  }
  // "cpu  user nice system idle iowait irq softirq steal ..."
  std::istringstream stat(line_of(root / "proc/stat"));
  std::string word;
  double total = 0, stolen = 0;
  for (int n = 0; n <= 8 && stat >> word; ++n) {
    if (n > 0) total += number(word);
    if (n == 8) stolen = number(word);
  }
  return {"virtual machine", State::disturbs,
          fmt::format("yes; its host has taken {:.2f} % of the processor time since it started",
                      total > 0 ? 100 * stolen / total : 0.0),
          "compare only within one run: its rounds are interleaved; measure on real hardware to "
          "quote times"};
}

MachineFact examine_clock(const fs::path& root) {
  const std::string clock =
      line_of(root / "sys/devices/system/clocksource/clocksource0/current_clocksource");
  if (clock.empty()) return unknown("clock", "the kernel does not show it");
  const bool slow = clock == "hpet" || clock == "acpi_pm" || clock == "jiffies";
  if (!slow) return {"clock", State::fine, printable(clock), ""};
  return {"clock", State::disturbs, printable(clock) + ": slow to read, or coarse",
          "find out from the kernel's log why tsc was given up (dmesg | grep -i tsc)"};
}

struct ProcessTime {
  std::string name;
  double seconds = 0;
};

// By process number. "123 (some name) S ppid ..." with user and system time in the 14th and 15th
// field.
std::map<int, ProcessTime> process_times() {
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  std::map<int, ProcessTime> times;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const std::string number_text = entry.path().filename().string();
    const int id = static_cast<int>(number(number_text));
    if (id <= 0 || id == getpid()) continue;
    const std::string stat = line_of(entry.path() / "stat");
    const size_t open = stat.find('('), close = stat.rfind(')');
    if (open == std::string::npos || close == std::string::npos) continue;
    std::istringstream fields(stat.substr(close + 1));
    std::string field;
    double seconds = 0;
    for (int n = 3; n <= 15 && fields >> field; ++n) {
      if (n >= 14) seconds += number(field) / ticks;
    }
    times[id] = {stat.substr(open + 1, close - open - 1), seconds};
  }
  return times;
}

}  // namespace

std::vector<MachineFact> examine_machine(const std::string& root) {
  const fs::path top = root.empty() ? "/" : root;
  return {examine_build(),           examine_governor(top), examine_turbo(top),
          examine_hyperthreads(top), examine_load(top),     examine_swap(top),
          examine_huge_pages(top),   examine_quota(top),    examine_virtual_machine(top),
          examine_clock(top)};
}

MachineFact find_busy_processes(double seconds) {
  const auto before = process_times();
  const auto begin = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  std::vector<std::pair<double, std::string>> busy;
  for (const auto& [id, process] : process_times()) {
    const auto found = before.find(id);
    const double used = process.seconds - (found == before.end() ? 0 : found->second.seconds);
    const double share = used / passed.count();
    if (share <= kBusyShare) continue;
    busy.emplace_back(
        share, fmt::format("{} (process {}, {:.0f} %)", printable(process.name), id, 100 * share));
  }
  if (busy.empty()) return {"other processes", State::fine, "none is busy", ""};
  std::ranges::sort(busy, std::greater());
  std::vector<std::string> names;
  for (size_t n = 0; n < std::min<size_t>(busy.size(), 5); ++n) names.push_back(busy[n].second);
  return {"other processes", State::disturbs, fmt::format("{}", fmt::join(names, ", ")),
          "wait for them, or end them"};
}

}  // namespace longattn
