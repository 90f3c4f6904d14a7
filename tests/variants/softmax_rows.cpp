#include <cmath>
#include <map>

#include "tests/variants/written_out.h"

namespace longattn {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

Rows softmax_rows(const Problem& p, Index b, Index h, const Vectors& queries, const Vectors& keys,
                  const Share& share) {
  const double scale = scale_of(p);
  Rows rows;
  rows.weights = Eigen::MatrixXd::Zero(p.query_len, p.key_len);
  rows.score_bound = Eigen::VectorXd::Zero(p.query_len);
  rows.logsumexp = Eigen::VectorXd::Constant(p.query_len, -kInfinity);
  rows.value_source.assign(static_cast<size_t>(p.query_len), 0);
  for (Index i = 0; i < p.query_len; ++i) {
    const auto& q = queries[static_cast<size_t>(i)];
    std::map<Index, double> scores;
    double largest = -kInfinity, sum = 0;
    for (Index j = 0; j < p.key_len; ++j) {
      const double part = mask_shows(p, b, i, j) ? share(i, j) : 0;
      if (part <= 0) continue;
      const auto& k = keys[static_cast<size_t>(j)];
      double dot = 0, bound = 0;
      for (size_t c = 0; c < q.size(); ++c) {
        dot += q[c] * k[c];
        bound += std::abs(q[c] * k[c]);
      }
      // Bias and share are terms of the score, too.
      const double bias = bias_of(p, h, i, j), edge = std::log(part);
      scores[j] = scale * dot + bias + edge;
      largest = std::max(largest, scores[j]);
      rows.score_bound[i] =
          std::max(rows.score_bound[i], std::abs(scale) * bound + std::abs(bias) + std::abs(edge));
    }
    if (scores.empty()) continue;
    for (const auto& [j, score] : scores) sum += std::exp(score - largest);
    for (const auto& [j, score] : scores) rows.weights(i, j) = std::exp(score - largest) / sum;
    rows.logsumexp[i] = largest + std::log(sum);
  }
  return rows;
}

Rows softmax_rows(const Problem& p, const DrawnTensors& t, Index b, Index h, const Share& share) {
  return softmax_rows(p, b, h, t.all(0, b, h), t.all(1, b, p.kv_head(h)), share);
}

}  // namespace longattn
