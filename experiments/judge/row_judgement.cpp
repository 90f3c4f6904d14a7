#include "experiments/judge/row_judgement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/softmax_definition.h"
#include "core/tolerance.h"

namespace longattn {
namespace {

// Full attention of some rows as a plain float32 program would have it: what rounding alone costs.
// With bfloat16 storage probabilities are rounded to it before they meet the values, as programs do
// that multiply in it. [value_dim, queries]
Eigen::MatrixXf full_rows_in_float(const Problem& p, const Inputs& inputs, const RowChunk& chunk) {
  const Index b = chunk.batch_entry, h = chunk.head, kv_head = p.kv_head(h);
  const auto count = static_cast<Index>(chunk.queries.size());
  Eigen::MatrixXf q(p.head_dim, count);
  for (Index r = 0; r < count; ++r) {
    const void* row = inputs.queries.row(b, h, chunk.queries[static_cast<size_t>(r)]);
    load_floats(p.dtype, row, p.head_dim, q.col(r).data());
  }
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  Eigen::MatrixXf scores = Eigen::MatrixXf::Constant(count, p.key_len, kNothing);
  const auto scale = static_cast<float>(p.effective_scale());
  Eigen::VectorXf k(p.head_dim), v(p.value_dim);
  for (Index j = 0; j < p.key_len; ++j) {
    load_floats(p.dtype, inputs.keys.row(b, kv_head, j), p.head_dim, k.data());
    for (Index r = 0; r < count; ++r) {
      const Index query = chunk.queries[static_cast<size_t>(r)];
      if (!p.visible(b, query, j)) continue;
      scores(r, j) = q.col(r).dot(k) * scale + static_cast<float>(p.bias(h, query, j));
    }
  }
  const Eigen::VectorXf largest = scores.rowwise().maxCoeff();
  Eigen::VectorXf sums = Eigen::VectorXf::Zero(count);
  Eigen::MatrixXf output = Eigen::MatrixXf::Zero(p.value_dim, count);
  for (Index j = 0; j < p.key_len; ++j) {
    load_floats(p.dtype, inputs.values.row(b, kv_head, j), p.value_dim, v.data());
    for (Index r = 0; r < count; ++r) {
      if (scores(r, j) == kNothing) continue;
      float weight = std::exp(scores(r, j) - largest(r));
      if (p.dtype == DType::bfloat16) weight = bfloat16_to_float(float_to_bfloat16(weight));
      sums(r) += weight;
      output.col(r) += weight * v;
    }
  }
  for (Index r = 0; r < count; ++r) {
    if (sums(r) > 0) output.col(r) /= sums(r);
  }
  return output;
}

// max |difference| / tolerance of one row, as worst_ratio does for many.
double row_ratio(const ExpectedRows& expected, Index r, const Eigen::VectorXd& forward) {
  double worst = 0;
  for (Index c = 0; c < forward.size(); ++c) {
    const double difference = std::abs(forward(c) - expected.output(r, c));
    if (difference == 0) continue;
    const double ratio = difference / expected.tolerance(r, c);
    if (std::isnan(ratio)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, ratio);
  }
  return worst;
}

// Against full attention over the keys that the variant makes, if it makes any.
void judge_own(const Attention& attention, const Inputs& inputs, const Eigen::MatrixXd& output,
               const RowChunk& chunk, std::vector<RowJudgement>& judgements) {
  const auto own = attention.own_full_attention(inputs, chunk.batch_entry, chunk.head);
  if (own == nullptr) return;
  const Eigen::MatrixXd full = weigh_values(attention.problem(), inputs, own->rows(chunk.queries),
                                            chunk.batch_entry, chunk.head);
  for (size_t n = 0; n < judgements.size(); ++n) {
    const auto r = static_cast<Index>(n);
    judgements[n].own_error2 = (output.row(r) - full.row(r)).squaredNorm();
    judgements[n].own_full2 = full.row(r).squaredNorm();
  }
}

// The mean of the values of all visible keys, and the best that as many keys as the variant weighs
// can do: what an error is read against.
Rows mean_rows(const Problem& p, const RowChunk& chunk) {
  Rows rows;
  rows.weights = Eigen::MatrixXd::Zero(static_cast<Index>(chunk.queries.size()), p.key_len);
  for (Index r = 0; r < rows.weights.rows(); ++r) {
    const Index query = chunk.queries[static_cast<size_t>(r)];
    Index visible = 0;
    for (Index key = 0; key < p.key_len; ++key) visible += p.visible(chunk.batch_entry, query, key);
    for (Index key = 0; key < p.key_len; ++key) {
      if (p.visible(chunk.batch_entry, query, key)) {
        rows.weights(r, key) = 1.0 / static_cast<double>(visible);
      }
    }
  }
  return rows;
}

// The keys with the `count` largest weights of a row.
std::vector<Index> largest_keys(const Eigen::MatrixXd& weights, Index r, Index count) {
  std::vector<Index> keys(static_cast<size_t>(weights.cols()));
  std::iota(keys.begin(), keys.end(), Index{0});
  const auto weight = [&](Index key) {  // NaN last: an order must be one
    return std::isnan(weights(r, key)) ? -1.0 : weights(r, key);
  };
  std::ranges::nth_element(keys, keys.begin() + count, [&](Index a, Index b) {
    return weight(a) != weight(b) ? weight(a) > weight(b) : a < b;
  });
  keys.resize(static_cast<size_t>(count));
  return keys;
}

Rows oracle_rows(const Eigen::MatrixXd& full, const Eigen::MatrixXd& weights) {
  Rows rows;
  rows.weights = Eigen::MatrixXd::Zero(full.rows(), full.cols());
  for (Index r = 0; r < full.rows(); ++r) {
    double sum = 0;
    const std::vector<Index> keys = largest_keys(full, r, (weights.row(r).array() != 0).count());
    for (Index key : keys) sum += full(r, key);
    if (sum == 0) continue;
    for (Index key : keys) rows.weights(r, key) = full(r, key) / sum;
  }
  return rows;
}

// How the weights W of a row differ from those of full attention, P.
void judge_distribution(const Eigen::MatrixXd& full, const Eigen::MatrixXd& weights, Index r,
                        RowJudgement& j) {
  double weight = 0, divergence = 0, variation = 0;
  for (Index key = 0; key < full.cols(); ++key) {
    const double p = full(r, key), w = weights(r, key);
    if (p > 0) j.entropy -= p * std::log(p);
    if (w == 0) j.lost += p;
    if (w > 0) divergence += w * std::log(w / p);  // infinite where p is 0
    variation += std::abs(w - p) / 2;
    weight += std::abs(w);
  }
  j.uncovered = weight == 0;
  if (j.uncovered) return;
  j.total_variation = variation;
  j.kl_divergence = std::max(0.0, divergence);
}

}  // namespace

std::vector<RowJudgement> judge_rows(const Attention& attention, const Traits& traits,
                                     const Inputs& inputs, const Definition& own,
                                     const RowChunk& chunk, const TensorView& output) {
  const Problem& p = attention.problem();
  const Index b = chunk.batch_entry, h = chunk.head;
  const ExpectedRows expected = expected_rows(attention, inputs, own, b, h, chunk.queries);
  const Eigen::MatrixXd& weights = expected.rows.weights;
  const Rows full = softmax_definition(p, inputs, b, h)->rows(chunk.queries);
  const Eigen::MatrixXd exact = weigh_values(p, inputs, full, b, h);
  const Eigen::MatrixXd rounded = full_rows_in_float(p, inputs, chunk).cast<double>().transpose();
  const Eigen::MatrixXd mean = weigh_values(p, inputs, mean_rows(p, chunk), b, h);
  const bool restricted = traits.rows == Traits::Rows::restricted;
  const Eigen::MatrixXd oracle =
      restricted ? weigh_values(p, inputs, oracle_rows(full.weights, weights), b, h) : exact;
  std::vector<RowJudgement> judgements;
  for (size_t n = 0; n < chunk.queries.size(); ++n) {
    const auto r = static_cast<Index>(n);
    const float* row = output.row(b, h, chunk.queries[n]);
    const Eigen::VectorXd forward =
        Eigen::Map<const Eigen::VectorXf>(row, p.value_dim).cast<double>();
    RowJudgement j;
    j.pinned = chunk.pinned;
    j.head = h;
    j.ratio = row_ratio(expected, r, forward);
    const double norm = expected.output.row(r).norm();
    if (norm > 0) j.resolution = expected.tolerance.row(r).norm() / norm;
    const Eigen::VectorXd difference = (expected.output.row(r) - exact.row(r)).transpose();
    j.error2 = difference.squaredNorm();
    j.full2 = exact.row(r).squaredNorm();
    j.max_abs = difference.cwiseAbs().maxCoeff();
    j.floor2 = (rounded.row(r) - exact.row(r)).squaredNorm();
    j.mean2 = (mean.row(r) - exact.row(r)).squaredNorm();
    j.oracle2 = (oracle.row(r) - exact.row(r)).squaredNorm();
    if (const Index visible = (full.weights.row(r).array() > 0).count(); visible > 0) {
      j.visible = 1;
      judge_distribution(full.weights, weights, r, j);
      j.top = static_cast<double>(std::min(kTopKeys, visible));
      for (Index key : largest_keys(full.weights, r, std::min(kTopKeys, visible))) {
        j.top_found += weights(r, key) != 0 ? 1 : 0;
      }
    }
    judgements.push_back(j);
  }
  judge_own(attention, inputs, expected.output, chunk, judgements);
  return judgements;
}

}  // namespace longattn
