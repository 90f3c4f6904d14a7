#include "core/tolerance.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace longattn {

namespace {

// sum_j coefficients(r, j) * f(v_j) for each row r, from the row's own value source. Filled
// transposed, because a row of the result must be contiguous to be added to.
template <class Function>
Eigen::MatrixXd weigh(const Problem& p, const Inputs& inputs, const Rows& rows,
                      const Eigen::MatrixXd& coefficients, Index batch_entry, Index head,
                      Function f) {
  const Index count = coefficients.rows();
  Eigen::MatrixXd sums = Eigen::MatrixXd::Zero(p.value_dim, count);
  Eigen::VectorXd value(p.value_dim);
  const int sources = rows.value_source.empty() ? 1 : 1 + static_cast<int>(inputs.extra.size());
  for (int source = 0; source < sources; ++source) {
    const ConstTensorView& values =
        source == 0 ? inputs.values : inputs.extra[static_cast<size_t>(source - 1)].view;
    for (Index key = 0; key < p.key_len; ++key) {
      bool loaded = false;
      for (Index r = 0; r < count; ++r) {
        const int own = rows.value_source.empty() ? 0 : rows.value_source[static_cast<size_t>(r)];
        if (rows.weights(r, key) == 0 || own != source) continue;
        if (!loaded) {
          load_row(values, batch_entry, p.kv_head(head), key, value.data());
          f(value);
          loaded = true;
        }
        sums.col(r) += coefficients(r, key) * value;
      }
    }
  }
  return sums.transpose();
}

}  // namespace

Eigen::MatrixXd weigh_values(const Problem& p, const Inputs& inputs, const Rows& rows,
                             Index batch_entry, Index head) {
  return weigh(p, inputs, rows, rows.weights, batch_entry, head, [](Eigen::VectorXd&) {});
}

double tolerance_of(const Attention& attention, double score_bound, double absolute) {
  const Problem& p = attention.problem();
  const Attention::Rounding rounding = attention.rounding();
  const double score_roundings =
      rounding.score_roundings > 0 ? rounding.score_roundings : static_cast<double>(p.head_dim) + 4;
  const double sum_roundings =
      rounding.sum_roundings > 0 ? rounding.sum_roundings : static_cast<double>(p.key_len) + 4;
  constexpr double kUnit = 0x1p-24;
  const double relative =
      2 * (kUnit * (score_roundings * score_bound + sum_roundings) + rounding.probability_rounding);
  // What float32 cannot hold: results below the smallest normal number lose relative accuracy.
  return relative * absolute + std::min(absolute, double{std::numeric_limits<float>::min()});
}

ExpectedRows expected_rows(const Attention& attention, const Inputs& inputs,
                           const Definition& definition, Index batch_entry, Index head,
                           std::span<const Index> queries) {
  const Problem& p = attention.problem();
  ExpectedRows expected;
  expected.rows = definition.rows(queries);
  const Rows& rows = expected.rows;
  expected.output = weigh_values(p, inputs, rows, batch_entry, head);
  const Eigen::MatrixXd magnitudes =
      rows.magnitudes.size() > 0 ? rows.magnitudes : Eigen::MatrixXd(rows.weights.cwiseAbs());
  const Eigen::MatrixXd absolute = weigh(p, inputs, rows, magnitudes, batch_entry, head,
                                         [](Eigen::VectorXd& value) { value = value.cwiseAbs(); });
  expected.tolerance.resize(absolute.rows(), absolute.cols());
  for (Index r = 0; r < absolute.rows(); ++r) {
    for (Index c = 0; c < absolute.cols(); ++c) {
      expected.tolerance(r, c) = tolerance_of(attention, rows.score_bound(r), absolute(r, c));
    }
  }
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
