#pragma once

#include "core/variant.h"

namespace longattn {

/// The least a pattern of k keys a row should do: each query attends to k visible keys drawn at
/// random.
///
///   W_ij = exp(s_ij) / sum_{j' in R_i} exp(s_ij')  for j in R_i, else 0,
///   s_ij = scale q_i . k_j + bias_ij,
///   R_i = the first k different of endless uniform draws from the keys that the mask shows to
///         query i
///
/// Draws are keyed by (seed, head, token position of the query) and the number of visible keys
/// alone, so that neither length, batch entry nor threads change one; prefixes are nested, so a
/// larger k keeps every key of a smaller one. Scores are the true ones. All keys if
/// fewer than k are visible.
///
/// A pattern with the same budget that is no better than this has learned nothing about where
/// attention goes.
///
/// Options: k (keys a row), seed.
///
/// Takes every part of the Problem; causal rows draw from their own past. Cost: sum_i min(k,
/// visible keys of i) scored pairs a head, each gathered: O(N k). Time grows faster than that while
/// the keys and values of a head outgrow one cache after another: whatever is next to a random key
/// is fetched for nothing, and neighbouring queries share too few keys for another order of work to
/// help. Where k comes near the visible keys, draws repeat, up to ln N times. Workspace: 256 lists
/// of k, one-query tiles, and a table of 2 k to 4 k keys a thread.
///
/// Paper: none; the random part of Zaheer et al. 2020, Big Bird (2007.14062), section 2, by itself
/// and token by token.
extern const Variant kRandomKeys;

}  // namespace longattn
