#pragma once

#include "core/kernels.h"
#include "core/tensor.h"
#include "core/types.h"

namespace longattn {

/// Rows `first`, first + stride, ..., `count` of them, of one head, for products to fetch as they
/// go; they may be beyond the end where count is 0.
kernels::Ahead rows_ahead(const ConstTensorView& view, Index batch_entry, Index head, Index first,
                          Index stride, Index count);

/// Starts to bring memory to the L2 cache, and does not wait for it: for data that lies where the
/// hardware does not expect it, or that is needed much later. Some twenty lines can be under way at
/// a time; more wait for each other, and what is computed meanwhile for them. Always inlined: the
/// compiler takes a function of prefetches alone for one without any effect, and leaves it out.
[[gnu::always_inline]] inline void fetch(const void* data, Index bytes) {
  const char* line = static_cast<const char*>(data);
  for (Index n = 0; n < bytes; n += 64) __builtin_prefetch(line + n, 0, 2);
}

}  // namespace longattn
