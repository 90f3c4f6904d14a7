#pragma once

#include "core/attention.h"

namespace longattn {

/// The running state of an online softmax per query: what a pass over some keys leaves for the next
/// pass over others (another hop of a ring, say). With scores s in base-2 units (s * log2 e):
///   maximum = max s,   sum = sum 2^(s - maximum),   accumulator = sum 2^(s - maximum) v
/// All float32; nothing is normalised or rounded to storage between passes.
struct SoftmaxState {
  TensorView accumulator;  ///< [batch, num_heads, query_len, value_dim]
  TensorView maximum;      ///< [batch, num_heads, query_len, 1]
  TensorView sum;          ///< [batch, num_heads, query_len, 1]
};

/// Before the first pass: nothing seen (maximum -inf, sum 0, accumulator 0).
void reset(const SoftmaxState& state);
/// After the last pass: output = accumulator / sum, logsumexp = ln 2 * maximum + log sum; zeros and
/// -inf for queries that saw nothing.
void finish(const SoftmaxState& state, const Outputs& outputs);
/// ln 2 * maximum + ln(sum); -inf where sum is 0.
float logsumexp_from(float maximum, float sum);

}  // namespace longattn
