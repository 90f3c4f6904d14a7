#pragma once

#include <functional>
#include <memory>

#include "core/attention.h"

namespace longattn {

/// Which keys a variant's pattern lets a query weigh, beside the Problem's mask. Empty: all.
using KeyPredicate = std::function<bool(Index query, Index key)>;

/// The definition of every variant that is a softmax on a subset of the keys:
///
///   W_ij = exp(s_ij) / sum_{j' in S_i} exp(s_ij')  for j in S_i, else 0
///   s_ij = scale * q_i . k_j + bias_ij,   S_i = {j : problem.visible(i, j) and allowed(i, j)}
///
/// in double, with the row maximum subtracted. A row with S_i empty is zero, logsumexp -inf. Keys
/// outside S_i are not read. Time O(rows * key_len * head_dim).
std::unique_ptr<Definition> softmax_definition(const Problem& problem, const Inputs& inputs,
                                               Index batch_entry, Index head,
                                               KeyPredicate allowed = {});

/// The last step of such a definition: row r of `rows.weights` holds scores, -inf where a key is
/// not weighed, and becomes their softmax, `rows.logsumexp` its logarithm; a row of -inf becomes
/// zeros.
void normalise_row(Rows& rows, Index r);

}  // namespace longattn
