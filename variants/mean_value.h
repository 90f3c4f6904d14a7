#pragma once

#include "core/variant.h"

namespace longattn {

/// The mean of all visible values, whatever the query asks: W_ij = 1 / |S_i| for j in S_i, the keys
/// that the Problem's mask shows to query i. That is full attention of scale 0. A biased softmax
/// has no uniform limit, so ALiBi is refused; the rest of the Problem is taken. Rows that see
/// nothing are zero. No options, no paper.
///
/// An approximation that is worse than this is worse than not looking at the keys at all. Keys are
/// never read. Time O(N d), running sums in double, so each output carries one rounding.
extern const Variant kMeanValue;

}  // namespace longattn
