#pragma once

#include <functional>
#include <optional>

namespace longattn {

/// What running something takes beside what the process held before.
struct MemoryUse {
  std::optional<double> heap_peak_bytes;  ///< empty where heap counting is not available
  std::optional<double> rss_peak_bytes;   ///< empty where the kernel does not let VmHWM be reset
};

/// Runs `body` once. Heap: the allocator's own block sizes, exact and repeatable. Resident memory:
/// VmHWM, reset before, less VmRSS before; blind below some 300 KiB, and to pages that were
/// resident and are used again. Never ru_maxrss, which a child inherits from its parent.
MemoryUse measure_memory_of(const std::function<void()>& body);

/// The most that this process has had resident (VmHWM); empty where the kernel does not say.
std::optional<double> resident_peak_bytes();

}  // namespace longattn
