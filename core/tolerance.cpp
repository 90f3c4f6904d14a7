#include "core/tolerance.h"

#include <cmath>
#include <limits>

namespace longattn {

WeightedValues weigh_values(const Problem& p, const Inputs& inputs, const Rows& rows,
                            Index batch_entry, Index head) {
  const Index count = rows.weights.rows();
  // Filled transposed, because a row of the result must be contiguous to be added to.
  Eigen::MatrixXd output = Eigen::MatrixXd::Zero(p.value_dim, count), absolute = output;
  Eigen::VectorXd value(p.value_dim);
  const bool has_magnitudes = rows.magnitudes.size() > 0;
  const int sources = rows.value_source.empty() ? 1 : 1 + static_cast<int>(inputs.extra.size());
  for (int source = 0; source < sources; ++source) {
    const ConstTensorView& values =
        source == 0 ? inputs.values : inputs.extra[static_cast<size_t>(source - 1)].view;
    for (Index key = 0; key < p.key_len; ++key) {
      bool loaded = false;
      for (Index r = 0; r < count; ++r) {
        const int own = rows.value_source.empty() ? 0 : rows.value_source[static_cast<size_t>(r)];
        const double weight = rows.weights(r, key);
        if (weight == 0 || own != source) continue;
        if (!loaded) {
          load_row(values, batch_entry, p.kv_head(head), key, value.data());
          loaded = true;
        }
        output.col(r) += weight * value;
        const double magnitude = has_magnitudes ? rows.magnitudes(r, key) : std::abs(weight);
        absolute.col(r) += magnitude * value.cwiseAbs();
      }
    }
  }
  return {output.transpose(), absolute.transpose()};
}

ExpectedRows expected_rows(const Attention& attention, const Inputs& inputs,
                           const Definition& definition, Index batch_entry, Index head,
                           std::span<const Index> queries) {
  const Problem& p = attention.problem();
  const Attention::Rounding rounding = attention.rounding();
  const double score_roundings =
      rounding.score_roundings > 0 ? rounding.score_roundings : static_cast<double>(p.head_dim) + 4;
  const double sum_roundings =
      rounding.sum_roundings > 0 ? rounding.sum_roundings : static_cast<double>(p.key_len) + 4;
  constexpr double kUnit = 0x1p-24;

  ExpectedRows expected;
  expected.rows = definition.rows(queries);
  WeightedValues values = weigh_values(p, inputs, expected.rows, batch_entry, head);
  expected.output = std::move(values.output);
  const Eigen::VectorXd factor =
      2 * kUnit * (score_roundings * expected.rows.score_bound.array() + sum_roundings).matrix();
  expected.tolerance = factor.asDiagonal() * values.absolute;
  // What float32 cannot hold: results below the smallest normal number lose relative accuracy.
  expected.tolerance.array() +=
      values.absolute.array().cwiseMin(double{std::numeric_limits<float>::min()});
  return expected;
}

double worst_ratio(const ExpectedRows& expected, const Eigen::MatrixXd& forward) {
  double worst = 0;
  for (Index r = 0; r < forward.rows(); ++r) {
    for (Index c = 0; c < forward.cols(); ++c) {
      const double difference = std::abs(forward(r, c) - expected.output(r, c));
      if (difference == 0) continue;
      const double ratio = difference / expected.tolerance(r, c);
      if (std::isnan(ratio)) return std::numeric_limits<double>::infinity();
      worst = std::max(worst, ratio);
    }
  }
  return worst;
}

double gate_resolution(const ExpectedRows& expected) {
  double worst = 0;
  for (Index r = 0; r < expected.output.rows(); ++r) {
    const double norm = expected.output.row(r).norm();
    if (norm > 0) worst = std::max(worst, expected.tolerance.row(r).norm() / norm);
  }
  return worst;
}

}  // namespace longattn
