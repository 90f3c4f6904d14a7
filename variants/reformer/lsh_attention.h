#pragma once

#include "core/attention.h"
#include "variants/reformer/lsh_rounds.h"

// Inside of Reformer's forward: the softmax over what the rounds of a group show.
namespace longattn {

/// Attention of one group's heads, round after round with one running softmax (as
/// core/softmax_state has it); a pair that met in an earlier round weighs nothing again.
///
/// A task is a run of sorted queries. The keys and values that they see lie side by side among the
/// sorted ones, so each is gathered once a task, into panels and rows that stay in the L2 cache,
/// while those of the next block are on their way from memory. Storage of 16 bits is read as
/// float32. Values that a query does not weigh never reach its output, not even as 0 * NaN.
///
/// `inputs` and `outputs` are of the group: heads [0, group.heads), one kv head, one batch entry.
/// The cut into blocks and tiles depends on the rounds alone, and so do the bits of the result.
void lsh_attention(const LshRounds& rounds, const Inputs& inputs, const Outputs& outputs,
                   Context& context);

/// Exactly what it takes from the workspace.
Index lsh_attention_bytes(const Problem& problem, const LshSettings& settings, Index heads,
                          int threads);

}  // namespace longattn
