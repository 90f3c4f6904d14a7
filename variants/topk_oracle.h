#pragma once

#include "core/variant.h"

namespace longattn {

/// The best any pattern of k keys a row can do: each query attends to the k keys with the largest
/// true scores.
///
///   W_ij = exp(s_ij) / sum_{j' in T_i} exp(s_ij')  for j in T_i, else 0,
///   T_i = the k keys with the largest s_ij = scale q_i . k_j + bias_ij among those the mask shows
///
/// Of all sets of k keys T_i captures most of full attention's mass. Scores that choose are
/// accumulated in double, in the order of the components, ties go to the lower index, and a score
/// that is not a number counts as infinite, so that it shows. All keys if fewer than k are visible.
///
/// Not a method but a bound: to find T_i every visible pair is scored, so this is slower than full
/// attention, by design. An approximation of k keys a row that captures much less than this is
/// losing by its choice, not by its budget; where this is bad itself, no sparse pattern will do.
///
/// Options: k (keys a row).
///
/// Takes every part of the Problem. Rows are a softmax on a subset; causal rows choose among their
/// own past. Cost: N^2 / 2 causal pairs scored in double (2 N^2 d FLOP without a causal mask), then
/// N k in float32. Workspace: per thread 8 rows of scores in double, and 256 lists of k: O(N).
///
/// Paper: none; cf. Gupta et al. 2021, Memory-efficient Transformers via Top-k Attention
/// (2106.06899), which is this as a method.
extern const Variant kTopkOracle;

}  // namespace longattn
