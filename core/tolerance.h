#pragma once

#include <Eigen/Core>
#include <span>

#include "core/attention.h"

namespace longattn {

/// What the definition says some output rows are, and how far rounding may move them.
struct ExpectedRows {
  Eigen::MatrixXd output;     ///< [queries, value_dim]: W V in double
  Eigen::MatrixXd tolerance;  ///< [queries, value_dim]: bound on |forward - output|
  Rows rows;                  ///< of the definition
};

/// Evaluates the definition for some queries of one (batch entry, head).
///
///   tolerance_ic = 2 (u (S_i + D_i) + r) A_ic,   u = 2^-24,   A_ic = sum_j M_ij |v_jc|
///
/// M are the definition's magnitudes; S_i = score_roundings * score_bound_i, because a score that
/// is a sum of n products carries at most n roundings of its absolute terms and exp turns an
/// absolute error of a score into a relative one of its weight; D_i = sum_roundings, the roundings
/// of numerator and denominator (Higham, Accuracy and Stability of Numerical Algorithms,
/// sections 3.1 and 4.2). r = probability_rounding, 2^-9 where probabilities are
/// rounded to bfloat16 and else 0. The factor 2 covers numerator and denominator. Values with
/// weight zero are not read.
ExpectedRows expected_rows(const Attention& attention, const Inputs& inputs,
                           const Definition& definition, Index batch_entry, Index head,
                           std::span<const Index> queries);

/// The tolerance of one element, by its row's score_bound and its A_ic.
double tolerance_of(const Attention& attention, double score_bound, double absolute);

/// W V in double for rows of a definition, [queries, value_dim]; values with weight zero are not
/// read.
Eigen::MatrixXd weigh_values(const Problem& problem, const Inputs& inputs, const Rows& rows,
                             Index batch_entry, Index head);

/// max over elements of |forward - output| / tolerance; an exact match of zeros counts 0, and NaN
/// or a difference where the tolerance is zero counts infinity. Conforming: at most 1. `forward` is
/// [queries, value_dim].
double worst_ratio(const ExpectedRows& expected, const Eigen::MatrixXd& forward);

/// max over rows of |tolerance_i| / |output_i| (Euclidean norms): how fine the gate can see.
double gate_resolution(const ExpectedRows& expected);

}  // namespace longattn
