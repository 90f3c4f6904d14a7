#include "tests/experiments/toy_variant.h"

#include <cmath>
#include <limits>
#include <vector>

namespace longattn {
namespace {

class ToyDefinition : public Definition {
 public:
  ToyDefinition(const Problem& problem, const Inputs& inputs, Index batch_entry, Index head,
                double gain)
      : p_(problem), inputs_(inputs), b_(batch_entry), head_(head), gain_(gain) {}

  Rows rows(std::span<const Index> queries) const override {
    const auto count = static_cast<Index>(queries.size());
    Rows rows;
    rows.weights = Eigen::MatrixXd::Zero(count, p_.key_len);
    rows.score_bound = Eigen::VectorXd::Zero(count);
    rows.logsumexp = Eigen::VectorXd::Zero(count);
    for (Index r = 0; r < count; ++r) {
      const Index query = queries[static_cast<size_t>(r)];
      rows.value_source.push_back(query == 0 && !inputs_.extra.empty() ? 1 : 0);
      double sum = 0;
      for (Index key = 0; key < p_.key_len; ++key) {
        if (!p_.visible(b_, query, key)) continue;
        rows.weights(r, key) = std::exp(score(query, key));
        sum += rows.weights(r, key);
      }
      rows.logsumexp(r) = std::log(sum);
      if (sum > 0) rows.weights.row(r) /= sum;
    }
    return rows;
  }

 private:
  double score(Index query, Index key) const {
    std::vector<double> q(static_cast<size_t>(p_.head_dim)), k(q.size());
    load_row(inputs_.queries, b_, head_, query, q.data());
    load_row(inputs_.keys, b_, p_.kv_head(head_), key, k.data());
    double sum = 0;
    for (size_t c = 0; c < q.size(); ++c) sum += q[c] * k[c];
    return gain_ * p_.effective_scale() * sum;
  }

  const Problem& p_;
  const Inputs inputs_;
  Index b_, head_;
  double gain_;
};

class ToyAttention : public Attention {
 public:
  ToyAttention(const Problem& problem, double gain, bool has_logsumexp)
      : Attention(problem), gain_(gain), has_logsumexp_(has_logsumexp) {}
  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    return std::make_unique<ToyDefinition>(problem(), inputs, b, head, gain_);
  }
  Cost cost(int) const override { return {}; }
  bool has_logsumexp() const override { return has_logsumexp_; }

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context&) const override {
    const Problem& p = problem();
    std::vector<double> value(static_cast<size_t>(p.value_dim));
    for (Index b = 0; b < p.batch; ++b) {
      for (Index head = 0; head < p.num_heads; ++head) {
        const ToyDefinition definition(p, inputs, b, head, gain_);
        for (Index query = 0; query < p.query_len; ++query) {
          const Rows rows = definition.rows(std::span(&query, 1));
          const ConstTensorView& values =
              rows.value_source[0] == 0 ? inputs.values : inputs.extra[0].view;
          std::vector<double> sum(value.size());
          for (Index key = 0; key < p.key_len; ++key) {
            if (rows.weights(0, key) == 0) continue;
            load_row(values, b, p.kv_head(head), key, value.data());
            for (size_t c = 0; c < sum.size(); ++c) sum[c] += rows.weights(0, key) * value[c];
          }
          for (size_t c = 0; c < sum.size(); ++c) {
            outputs.output.row(b, head, query)[c] = static_cast<float>(sum[c]);
          }
          if (!outputs.logsumexp.empty()) {
            *outputs.logsumexp.row(b, head, query) = static_cast<float>(rows.logsumexp(0));
          }
        }
      }
    }
  }
  double gain_;
  bool has_logsumexp_;
};

std::string supports_all(const Problem&, const Options&) { return ""; }
Traits traits(const Problem&, const Options&) { return {}; }
Growth growth(const Options&) { return {}; }

std::unique_ptr<const Attention> make_toy(const Problem& problem, const Options& options) {
  return std::make_unique<ToyAttention>(problem, options.number("gain"), true);
}
std::unique_ptr<const Attention> make_plain(const Problem& problem, const Options&) {
  return std::make_unique<ToyAttention>(problem, 1, false);
}
std::string refuses_causal(const Problem& problem, const Options&) {
  return problem.mask.causal ? "it sees the whole sequence" : "";
}

Option option(const char* name, OptionType type, OptionValue value) {
  Option result;
  result.name = name;
  result.type = type;
  result.default_value = std::move(value);
  return result;
}

}  // namespace

const Variant& toy_variant() {
  static const Variant variant = {
      "toy",
      "softmax attention in double",
      "none",
      {option("gain", OptionType::number, 1.0), option("seed", OptionType::integer, Index{1}),
       option("tokens", OptionType::integers, std::vector<Index>{})},
      {{"global_values", ExtraTensor::Like::values, "what row 0 weighs"}},
      supports_all,
      traits,
      growth,
      make_toy};
  return variant;
}

const Variant& plain_toy_variant() {
  static const Variant variant = {
      "plain_toy", "softmax attention in double", "none", {}, {}, refuses_causal, traits, growth,
      make_plain};
  return variant;
}

}  // namespace longattn
