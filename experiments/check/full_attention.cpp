#include "experiments/check/full_attention.h"

#include <cmath>
#include <limits>
#include <vector>

namespace longattn {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

std::vector<std::vector<double>> all_rows(const ConstTensorView& view, Index b, Index head,
                                          Index count) {
  std::vector<std::vector<double>> rows;
  for (Index j = 0; j < count; ++j) {
    rows.emplace_back(static_cast<size_t>(view.dim()));
    load_row(view, b, head, j, rows.back().data());
  }
  return rows;
}

// log of the sum of exp over a row of scores; -inf for a row that sees nothing.
double logsumexp(const Eigen::MatrixXd& scores, Index r) {
  double largest = kNothing;
  for (Index j = 0; j < scores.cols(); ++j) largest = std::max(largest, scores(r, j));
  if (largest == kNothing) return kNothing;
  double sum = 0;
  for (Index j = 0; j < scores.cols(); ++j) sum += std::exp(scores(r, j) - largest);
  return largest + std::log(sum);
}

}  // namespace

FullRows full_attention_rows(const Problem& p, const Inputs& inputs, Index b, Index head,
                             std::span<const Index> queries) {
  const auto count = static_cast<Index>(queries.size());
  const Index seen = p.visible_key_len(b);
  const auto keys = all_rows(inputs.keys, b, p.kv_head(head), seen);
  const auto values = all_rows(inputs.values, b, p.kv_head(head), seen);
  FullRows full;
  full.weights = Eigen::MatrixXd::Zero(count, p.key_len);
  full.log_weights = Eigen::MatrixXd::Constant(count, p.key_len, kNothing);
  full.output = Eigen::MatrixXd::Zero(count, p.value_dim);
  full.slack = Eigen::VectorXd::Zero(count);
  std::vector<double> query(static_cast<size_t>(p.head_dim));
  for (Index r = 0; r < count; ++r) {
    const Index i = queries[static_cast<size_t>(r)];
    load_row(inputs.queries, b, head, i, query.data());
    double bound = 0;
    for (Index j = 0; j < seen; ++j) {
      if (!p.visible(b, i, j)) continue;
      double dot = 0, absolute = 0;
      for (size_t c = 0; c < query.size(); ++c) {
        dot += query[c] * keys[static_cast<size_t>(j)][c];
        absolute += std::abs(query[c] * keys[static_cast<size_t>(j)][c]);
      }
      full.log_weights(r, j) = p.effective_scale() * dot + p.bias(head, i, j);
      bound =
          std::max(bound, std::abs(p.effective_scale()) * absolute + std::abs(p.bias(head, i, j)));
    }
    const double lse = logsumexp(full.log_weights, r);
    // Two evaluations of a score differ by 2 (head_dim + 4) roundings of its absolute terms; the
    // logsumexp adds as much again.
    full.slack(r) = 4 * 0x1p-53 * static_cast<double>(p.head_dim + 4) * bound;
    if (lse == kNothing) continue;
    for (Index j = 0; j < seen; ++j) {
      if (full.log_weights(r, j) == kNothing) continue;
      full.log_weights(r, j) -= lse;
      full.weights(r, j) = std::exp(full.log_weights(r, j));
      for (Index c = 0; c < p.value_dim; ++c) {
        full.output(r, c) +=
            full.weights(r, j) * values[static_cast<size_t>(j)][static_cast<size_t>(c)];
      }
    }
  }
  return full;
}

}  // namespace longattn
