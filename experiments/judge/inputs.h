#pragma once

#include "core/attention.h"
#include "experiments/cell.h"
#include "experiments/inputs/generator.h"
#include "experiments/judge/errors.h"

namespace longattn {

/// Measures what full attention does on an input, on sampled query rows i with weights P_ij and
/// scaled scores s_ij over their n_i visible keys, in double; means over rows with a bootstrap
/// interval (bootstrap_ratio), the median with its own:
///
///   score_deviation     sqrt(mean of sum_j (s_ij - mean_j s_ij)^2 / (n_i - 1)), rows with n_i > 1
///   row_entropy         mean of -sum_j P_ij log P_ij: log n for uniform rows (uniform_entropy is
///                       the mean of log n_i), 0 for one key
///   half_mass_distance  median of the smallest w with
///                       sum over |position(i) - j| <= w of P_ij >= 1/2
///   first_tokens_mass   mean of P_i0 + .. + P_i3
///   planted_mass        mean of the sum of P_ij over the keys j that `source` planted for i
///   effective_rank      exp(entropy of sigma / sum sigma), sigma the singular values of
///                       q_i.(k_j - mean k) (Roy & Vetterli 2007; softmax does not see the mean),
///                       mask left out, over up to 4,096 queries and keys drawn by seed; mean over
///                       heads; not above head_dim 1,024
///
/// And of each query head alone, over its rows, without intervals: row_entropy, first_tokens_mass,
/// effective_rank, and
///
///   window_mass         mean of the sum over |position(i) - j| <= w of P_ij, for w of kMassWindows
///   window_99           smallest w of window_grid() for which that is at least 0.99
///
/// `source` is null for a trace and where nothing is planted. Time O(rows * key_len * head_dim),
/// memory as judging_bytes. The numbers do not depend on the number of threads.
InputResult measure_input(const Problem& problem, const Inputs& inputs, const InputSource* source,
                          const JudgeSettings& settings, Context& context);

}  // namespace longattn
