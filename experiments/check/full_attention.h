#pragma once

#include <Eigen/Core>
#include <span>

#include "core/attention.h"

namespace longattn {

/// Rows of full attention, in double: what the kit holds every claim against. Written here once
/// more, from Problem::visible and Problem::bias alone, so that it shares no mistake with the
/// variants.
struct FullRows {
  Eigen::MatrixXd weights;      ///< [queries, key_len]: P
  Eigen::MatrixXd log_weights;  ///< [queries, key_len]: log P; -inf where hidden
  Eigen::MatrixXd output;       ///< [queries, value_dim]: P V
  Eigen::VectorXd slack;        ///< per row: bound on the error of log P, from rounding in double
};

/// O(queries * key_len * (head_dim + value_dim)). Hidden keys and values are not read.
FullRows full_attention_rows(const Problem& problem, const Inputs& inputs, Index batch_entry,
                             Index head, std::span<const Index> queries);

}  // namespace longattn
