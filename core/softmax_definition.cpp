#include "core/softmax_definition.h"

#include <cmath>
#include <limits>

namespace longattn {
namespace {

class SoftmaxDefinition final : public Definition {
 public:
  SoftmaxDefinition(const Problem& problem, const Inputs& inputs, Index batch_entry, Index head,
                    KeyPredicate allowed)
      : problem_(problem),
        queries_(inputs.queries),
        keys_(inputs.keys),
        batch_entry_(batch_entry),
        head_(head),
        allowed_(std::move(allowed)) {}

  Rows rows(std::span<const Index> queries) const override {
    const auto count = static_cast<Index>(queries.size());
    const Index key_len = problem_.key_len, head_dim = problem_.head_dim;
    const double scale = problem_.effective_scale();
    constexpr double kNothing = -std::numeric_limits<double>::infinity();
    Eigen::MatrixXd q(head_dim, count);  // one column a query
    for (Index r = 0; r < count; ++r) {
      load_row(queries_, batch_entry_, head_, queries[static_cast<size_t>(r)], q.col(r).data());
    }
    const Eigen::MatrixXd q_absolute = q.cwiseAbs();
    Eigen::VectorXd k(head_dim), k_absolute(head_dim);
    Rows result;
    result.weights = Eigen::MatrixXd::Constant(count, key_len, kNothing);  // scores, at first
    result.score_bound = Eigen::VectorXd::Zero(count);
    result.logsumexp = Eigen::VectorXd::Constant(count, kNothing);
    for (Index key = 0; key < key_len; ++key) {
      bool loaded = false;
      for (Index r = 0; r < count; ++r) {
        const Index query = queries[static_cast<size_t>(r)];
        if (!problem_.visible(batch_entry_, query, key)) continue;
        if (allowed_ && !allowed_(query, key)) continue;
        if (!loaded) {
          load_row(keys_, batch_entry_, problem_.kv_head(head_), key, k.data());
          k_absolute = k.cwiseAbs();
          loaded = true;
        }
        const double bias = problem_.bias(head_, query, key);
        result.weights(r, key) = scale * q.col(r).dot(k) + bias;
        const double bound = std::abs(scale) * q_absolute.col(r).dot(k_absolute) + std::abs(bias);
        result.score_bound(r) = std::max(result.score_bound(r), bound);
      }
    }
    for (Index r = 0; r < count; ++r) normalise_row(result, r);
    return result;
  }

 private:
  const Problem problem_;
  const ConstTensorView queries_, keys_;
  const Index batch_entry_, head_;
  const KeyPredicate allowed_;
};

}  // namespace

void normalise_row(Rows& rows, Index r) {
  constexpr double kNothing = -std::numeric_limits<double>::infinity();
  auto row = rows.weights.row(r);
  const double largest = row.size() > 0 ? row.maxCoeff() : kNothing;
  if (largest == kNothing) {
    row.setZero();
    return;
  }
  row = (row.array() - largest).exp();
  const double sum = row.sum();
  row /= sum;
  rows.logsumexp(r) = largest + std::log(sum);
}

std::unique_ptr<Definition> softmax_definition(const Problem& problem, const Inputs& inputs,
                                               Index batch_entry, Index head,
                                               KeyPredicate allowed) {
  return std::make_unique<SoftmaxDefinition>(problem, inputs, batch_entry, head,
                                             std::move(allowed));
}

}  // namespace longattn
