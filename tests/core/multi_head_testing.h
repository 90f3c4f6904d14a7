#pragma once

#include <gtest/gtest.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "core/multi_head.h"
#include "tests/test_tensors.h"

namespace longattn {

/// Embeddings, weights and room for the outputs of a layer around a Problem.
struct LayerTensors {
  LayerTensors(const Problem& p, Index model, std::uint64_t seed = 1)
      : problem(p),
        model_dim(model),
        embeddings(gaussian_tensor({p.batch, 1, p.query_len, model}, seed)),
        context(gaussian_tensor({p.batch, 1, p.key_len, model}, seed + 1)),
        query(weight(model, p.num_heads * p.head_dim, seed + 2)),
        key(weight(model, p.num_kv_heads * p.head_dim, seed + 3)),
        down(weight(model, p.num_kv_heads * p.value_dim, seed + 4)),
        up(weight(p.num_heads * p.value_dim, model, seed + 5)),
        update({p.batch, 1, p.query_len, model}),
        residual({p.batch, 1, p.query_len, model}) {}

  static Tensor weight(Index rows, Index columns, std::uint64_t seed) {
    return gaussian_tensor({1, 1, rows, columns}, seed, 1 / std::sqrt(static_cast<double>(rows)));
  }
  static ConstMatrix matrix(const Tensor& t) {
    return {t.floats(), t.shape()[2], t.shape()[3], t.shape()[3]};
  }
  MultiHeadWeights weights() const {
    return {matrix(query), matrix(key), matrix(down), matrix(up)};
  }
  MultiHeadInputs inputs() const { return {embeddings.view(), context.view()}; }
  MultiHeadOutputs outputs() { return {update.mutable_view(), residual.mutable_view()}; }

  Problem problem;
  Index model_dim;
  Tensor embeddings, context, query, key, down, up, update, residual;
};

/// A matrix of one batch entry in double, beside what rounding may have moved it by in float32.
struct Bounded {
  Eigen::MatrixXd value, bound;
};

inline Eigen::MatrixXd to_eigen(const ConstMatrix& m) {
  Eigen::MatrixXd out(m.rows, m.columns);
  for (Index r = 0; r < m.rows; ++r) {
    for (Index c = 0; c < m.columns; ++c) out(r, c) = m.data[r * m.stride + c];
  }
  return out;
}

inline Eigen::MatrixXd to_eigen(const ConstTensorView& view, Index b) {
  return to_eigen(ConstMatrix{view.float_row(b, 0, 0), view.len(), view.dim(), view.strides[2]});
}

/// a b: what a was off by, times |b|, and the (n + 2) u |a| |b| of a product (Higham, 3.5).
inline Bounded times(const Bounded& a, const Eigen::MatrixXd& b) {
  const Eigen::MatrixXd largest = a.value.cwiseAbs() + a.bound, right = b.cwiseAbs();
  const double roundings = static_cast<double>(b.rows() + 2) * 0x1p-24;
  return {a.value * b, a.bound * right + roundings * largest * right};
}

/// One head in double: scores off by d_j change each weight by at most exp(2 max d), beside the
/// roundings of scores and sums that the attention declares (core/tolerance.h).
inline Bounded expected_head(const Problem& p, Index b, const Bounded& q, const Bounded& k,
                             const Bounded& v, const Attention::Rounding& rounding,
                             const std::function<bool(Index, Index)>& allowed) {
  constexpr double u = 0x1p-24;
  const Eigen::MatrixXd v_abs = v.value.cwiseAbs() + v.bound;
  Bounded out{Eigen::MatrixXd::Zero(p.query_len, v.value.cols()),
              Eigen::MatrixXd::Zero(p.query_len, v.value.cols())};
  for (Index i = 0; i < p.query_len; ++i) {
    std::vector<Index> keys;
    std::vector<double> scores;
    double largest = -INFINITY, off = 0;
    for (Index j = 0; j < p.key_len; ++j) {
      if (!p.visible(b, i, j) || (allowed && !allowed(i, j))) continue;
      const Eigen::RowVectorXd q_abs = q.value.row(i).cwiseAbs(), k_abs = k.value.row(j).cwiseAbs();
      const Eigen::RowVectorXd q_off = q.bound.row(i), k_off = k.bound.row(j);
      keys.push_back(j);
      scores.push_back(p.effective_scale() * q.value.row(i).dot(k.value.row(j)));
      largest = std::max(largest, scores.back());
      const double inputs = q_off.dot(k_abs) + q_abs.dot(k_off) + q_off.dot(k_off);
      off = std::max(off, p.effective_scale() * (inputs + rounding.score_roundings * u *
                                                              (q_abs + q_off).dot(k_abs + k_off)));
    }
    double sum = 0;
    for (double score : scores) sum += std::exp(score - largest);
    const double relative = std::expm1(2 * (off + u * rounding.sum_roundings));
    for (size_t n = 0; n < keys.size(); ++n) {
      const double weight = std::exp(scores[n] - largest) / sum;
      out.value.row(i) += weight * v.value.row(keys[n]);
      out.bound.row(i) += weight * (relative * v_abs.row(keys[n]) + v.bound.row(keys[n]));
    }
  }
  return out;
}

/// dE of one batch entry, as the sum over heads of P_h C W_down W_up, and its rounding bound.
inline Bounded expected_update(const MultiHead& layer, const LayerTensors& t, Index b,
                               const std::function<bool(Index, Index)>& allowed = {}) {
  const Problem& p = t.problem;
  const auto exact = [](const Eigen::MatrixXd& m) -> Bounded {
    return {m, Eigen::MatrixXd::Zero(m.rows(), m.cols())};
  };
  const Bounded embeddings = exact(to_eigen(t.embeddings.view(), b));
  const Bounded context = exact(to_eigen(t.context.view(), b));
  const MultiHeadWeights w = t.weights();
  const Eigen::MatrixXd query = to_eigen(w.query), key = to_eigen(w.key);
  const Eigen::MatrixXd down = to_eigen(w.value_down), up = to_eigen(w.value_up);
  Bounded sum = exact(Eigen::MatrixXd::Zero(p.query_len, t.model_dim));
  const double roundings = static_cast<double>(up.rows() + 2) * 0x1p-24;
  for (Index h = 0; h < p.num_heads; ++h) {
    const Index g = p.kv_head(h);
    const Bounded head =
        expected_head(p, b, times(embeddings, query.middleCols(h * p.head_dim, p.head_dim)),
                      times(context, key.middleCols(g * p.head_dim, p.head_dim)),
                      times(context, down.middleCols(g * p.value_dim, p.value_dim)),
                      layer.attention().rounding(), allowed);
    const Eigen::MatrixXd head_up = up.middleRows(h * p.value_dim, p.value_dim);
    const Eigen::MatrixXd largest = head.value.cwiseAbs() + head.bound;
    sum.value += head.value * head_up;
    sum.bound += head.bound * head_up.cwiseAbs() + roundings * largest * head_up.cwiseAbs();
  }
  return sum;
}

inline void expect_within(const Eigen::MatrixXd& found, const Eigen::MatrixXd& expected,
                          const Eigen::MatrixXd& bound) {
  ASSERT_EQ(found.rows(), expected.rows());
  for (Index i = 0; i < found.rows(); ++i) {
    for (Index c = 0; c < found.cols(); ++c) {
      ASSERT_LE(std::abs(found(i, c) - expected(i, c)), bound(i, c))
          << "row " << i << " column " << c;
    }
  }
}

}  // namespace longattn
