#include "experiments/benchmarks/reporter.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "experiments/judge/statistics.h"

namespace longattn::benchmarks {
namespace {

std::string time_text(double seconds) {
  if (seconds >= 1) return fmt::format("{:.3g} s", seconds);
  return seconds >= 1e-3 ? fmt::format("{:#.3g} ms", seconds * 1e3)
                         : fmt::format("{:#.3g} us", seconds * 1e6);
}

std::string bytes_text(double bytes) {
  return bytes >= 1 << 20 ? fmt::format("{:#.3g} MiB", bytes / (1 << 20))
                          : fmt::format("{:#.3g} KiB", bytes / (1 << 10));
}

using Runs = std::vector<benchmark::BenchmarkReporter::Run>;

// The median of a counter over the repetitions, as `text` writes it; "-" where it is absent.
template <class Text>
std::string median_text(const Runs& repetitions, const char* counter, Text text) {
  std::vector<double> values;
  for (const auto& run : repetitions) {
    const auto it = run.counters.find(counter);
    if (it != run.counters.end()) values.push_back(it->second.value);
  }
  return values.empty() ? "-" : text(median(values));
}

}  // namespace

bool Reporter::ReportContext(const Context& context) {
  constexpr size_t kSuffix = std::string_view("/manual_time").size();  // of every name
  name_width_ = std::max(context.name_field_width, kSuffix) - kSuffix;
  for (const std::string& remark : remarks_) fmt::print("{}\n", remark);
  fmt::print("\n{:{}} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>9}\n", "median of repetitions",
             name_width_, "time", "GFLOP/s", "of peak", "of dense", "GB/s", "of read", "spread",
             "workspace");
  std::fflush(stdout);
  return true;
}

void Reporter::ReportRuns(const std::vector<Run>& runs) {
  Runs repetitions;
  for (const Run& run : runs) {
    if (run.run_type == Run::RT_Iteration) repetitions.push_back(run);
  }
  if (repetitions.empty()) return;
  const Run& first = repetitions.front();
  const std::string& name = first.run_name.function_name;
  for (const Run& run : repetitions) {
    if (!run.error_occurred) continue;
    if (!run.error_message.starts_with("not supported")) ++errors_;
    fmt::print("{:{}} {}\n", name, name_width_, run.error_message);
    return;
  }
  std::vector<double> seconds;
  for (const Run& run : repetitions) {
    seconds.push_back(run.real_accumulated_time / static_cast<double>(run.iterations));
  }
  const double time = median(seconds);
  const auto [least, greatest] = std::ranges::minmax(seconds);
  const auto giga = [](double rate) { return fmt::format("{:.1f}", rate / 1e9); };
  const auto percent = [](double share) { return fmt::format("{:.1f} %", 100 * share); };
  const auto times = [](double share) { return fmt::format("{:.3f}", share); };
  median_text(repetitions, "of_peak", [&](double share) {
    of_peak_[name] = share;
    return "";
  });
  fmt::print("{:{}} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>9}  {}\n", name, name_width_,
             time_text(time), median_text(repetitions, "flops", giga),
             median_text(repetitions, "of_peak", percent),
             median_text(repetitions, "of_dense", times), median_text(repetitions, "bytes", giga),
             median_text(repetitions, "of_bandwidth", percent),
             fmt::format("±{:.1f}%", 50 * (greatest - least) / time),
             median_text(repetitions, "workspace", bytes_text), first.report_label);
  std::fflush(stdout);
}

void Reporter::Finalize() {
  constexpr std::string_view kOurs = "engine/", kPeer = "peer/";
  bool headed = false;
  for (const auto& [name, theirs] : of_peak_) {
    if (!name.starts_with(kPeer)) continue;
    const std::string rest = name.substr(kPeer.size());
    const std::string shape = rest.substr(rest.find('/') + 1);
    const auto ours = of_peak_.find(std::string(kOurs) + shape);
    if (ours == of_peak_.end()) continue;
    if (!headed) fmt::print("\nengine / peer, of peak (above 1: the engine is faster)\n");
    headed = true;
    fmt::print("{:{}} {:.1f} % / {:.1f} % = {:.2f}\n", rest, name_width_, 100 * ours->second,
               100 * theirs, ours->second / theirs);
  }
}

}  // namespace longattn::benchmarks
