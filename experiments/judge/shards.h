#pragma once

#include "core/attention.h"
#include "experiments/cell.h"
#include "experiments/judge/errors.h"
#include "variants/ring/communicator.h"
#include "variants/ring/ring_plan.h"

namespace longattn {

/// What one rank of a ring holds: its own tokens' inputs, and the output of its queries.
struct OwnShard {
  const RingPlan& plan;
  int rank;
  Inputs inputs;
  ConstTensorView output;
};

/// The error fields of judge_errors where no rank holds the whole sequence; collective, and the
/// same at every rank. The sampled query rows and their outputs go to all ranks; each takes them
/// over its own keys, in double,
///
///   m_r = max s_ij,  S_r = sum exp(s_ij - m_r),  A_r = sum exp(s_ij - m_r) v_j
///
/// and full attention is sum_r e^(m_r - m) A_r / sum_r e^(m_r - m) S_r with m = max m_r; so are the
/// magnitudes behind the tolerance, the mean of the visible values, the entropy, and a plain
/// float32 evaluation with its parts in float32.
///
/// The plan's window and wire type make another softmax, over fewer keys or rounded ones: it is
/// summed up beside, and told against full attention as errors.h says, but for what takes a row's
/// weights in one place: oracle_error and top_recall of a window, total_variation of rounded keys.
/// Time O(rows * key_len * head_dim / ranks);
/// memory O(rows * ranks), a few rows at a time. Throws CommunicatorError, at the latest at the
/// deadline.
void judge_shards(const Attention& attention, const Traits& traits, const OwnShard& own,
                  const JudgeSettings& settings, Communicator& communicator,
                  Communicator::Deadline deadline, Context& context, CellResult& result);

}  // namespace longattn
