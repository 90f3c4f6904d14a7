#pragma once

#include "core/types.h"

namespace longattn {

/// Counts the heap by standing in for malloc and its kin (the C library's do the work). Overriding
/// operator new would miss Eigen and the workspace, which call malloc. Off until asked, so that it
/// costs timings nothing; absent under sanitizers, which have their own malloc, and outside glibc.
bool heap_counting_available();
void start_heap_counting();  ///< from now on; what is allocated already counts as zero
/// Most bytes held at once since start_heap_counting, by the allocator's own block sizes.
Index stop_heap_counting();

}  // namespace longattn
