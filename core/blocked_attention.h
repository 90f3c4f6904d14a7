#pragma once

#include <span>

#include "core/attention.h"
#include "core/block_schedule.h"
#include "core/softmax_state.h"

namespace longattn {

/// The blocked engine: attention over the keys that a schedule names, by tiles, with an online
/// softmax (Milakov & Gimelshein 2018; Rabe & Staats 2021; Dao et al. 2022).
///
/// Per query block: queries are scaled by scale * log2 e and packed in strips; each source is cut
/// into tiles of key_block keys; per tile, scores by register tiles, 2^(s - m) in place,
/// accumulator rescaled only where the maximum moved, then the product with the values. Per strip
/// of 12 or 16 queries only the columns that one of them may see are computed. Contiguous sources
/// share packed keys, of few kv heads at a time; strided and listed ones are gathered per tile.
/// Values that a query may not see never reach its output, not even as 0 * NaN.
///
/// Queries that stand in no block of the schedule are left untouched. Where few query blocks exist
/// their keys are split at fixed places and the parts merged in fixed order: the cut depends on the
/// Problem and schedule alone, and so do the bits of the result.
///
/// Time 2 (head_dim + value_dim) FLOP per scored pair; workspace as blocked_workspace_bytes.
/// Sources: FlashAttention-2 (Dao 2023) for the loop order.
void blocked_attention(const Problem& problem, const Inputs& inputs, const BlockSchedule& schedule,
                       const Outputs& outputs, Context& context);

/// The same, going on from `state` and leaving its result there.
void accumulate_attention(const Problem& problem, const Inputs& inputs,
                          const BlockSchedule& schedule, const SoftmaxState& state,
                          Context& context);

/// The softmax over what several schedules name, in passes one after the other: for patterns whose
/// parts are dense under different orders of the queries. Every query stands in a block of every
/// schedule; no (query, key) pair in two schedules. Beside the largest pass several take two floats
/// a query from the workspace; the output holds the accumulators meanwhile.
void blocked_attention(const Problem& problem, const Inputs& inputs,
                       std::span<const BlockSchedule* const> passes, const Outputs& outputs,
                       Context& context);

/// Exactly what these functions take from the workspace.
Index blocked_workspace_bytes(const Problem& problem, const BlockSchedule& schedule, int threads);
Index blocked_workspace_bytes(const Problem& problem, std::span<const BlockSchedule* const> passes,
                              int threads);

/// Predicted cost of a pass over `scored_pairs` (query, key) pairs.
Cost blocked_cost(const Problem& problem, const BlockSchedule& schedule, double scored_pairs,
                  int threads);

/// Block sizes that suit the caches, for schedules that leave the choice to the engine.
Index default_query_block();
Index default_key_block(const Problem& problem);

/// Roundings of one output of the engine (for Attention::rounding): numerator and denominator are
/// sums over tiles of `key_block` keys. `more_tiles`: how many more tiles a row may be summed in
/// than one source of all keys has, because several sources end in short ones.
Attention::Rounding blocked_rounding(const Problem& problem, Index key_block, Index more_tiles = 0);

}  // namespace longattn
