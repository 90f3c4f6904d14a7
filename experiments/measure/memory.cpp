#include "experiments/measure/memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

#include "experiments/measure/heap_counter.h"

namespace longattn {
namespace {

// A line "VmHWM:    1508 kB" of /proc/self/status, in bytes.
std::optional<double> status_bytes(std::string_view field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(field)) continue;
    const size_t digits = line.find_first_of("0123456789");
    if (digits == std::string::npos) return std::nullopt;
    long kilobytes = 0;
    std::from_chars(line.data() + digits, line.data() + line.size(), kilobytes);
    return 1024.0 * static_cast<double>(kilobytes);
  }
  return std::nullopt;
}

bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace

MemoryUse measure_memory_of(const std::function<void()>& body) {
  const bool resettable = reset_peak();
  const std::optional<double> before = status_bytes("VmRSS:");
  if (heap_counting_available()) start_heap_counting();
  body();
  MemoryUse use;
  if (heap_counting_available()) {
    use.heap_peak_bytes = static_cast<double>(stop_heap_counting());
  }
  const std::optional<double> peak = resident_peak_bytes();
  if (resettable && before && peak) use.rss_peak_bytes = std::max(*peak - *before, 0.0);
  return use;
}

std::optional<double> resident_peak_bytes() { return status_bytes("VmHWM:"); }

}  // namespace longattn
