#include "variants/mean_value.h"

#include <algorithm>
#include <unordered_map>

#include "core/kernels.h"

namespace longattn {
namespace {

class MeanDefinition final : public Definition {
 public:
  MeanDefinition(const Problem& problem, Index batch_entry)
      : problem_(problem), batch_entry_(batch_entry) {}

  Rows rows(std::span<const Index> queries) const override {
    const auto count = static_cast<Index>(queries.size());
    Rows result;
    result.weights = Eigen::MatrixXd::Zero(count, problem_.key_len);
    result.score_bound = Eigen::VectorXd::Zero(count);
    for (Index r = 0; r < count; ++r) {
      for (Index j = 0; j < problem_.key_len; ++j) {
        if (problem_.visible(batch_entry_, queries[static_cast<size_t>(r)], j)) {
          result.weights(r, j) = 1;
        }
      }
      const double seen = result.weights.row(r).sum();
      if (seen > 0) result.weights.row(r) /= seen;
    }
    return result;
  }

 private:
  const Problem problem_;
  const Index batch_entry_;
};

class MeanValue final : public Attention {
 public:
  explicit MeanValue(const Problem& p) : Attention(p) {
    // Documents are numbered 0, 1, .. in order of appearance; each has its own running sum.
    for (Index b = 0; b < p.batch; ++b) {
      std::unordered_map<Index, Index> number;
      for (Index j = 0; j < p.key_len; ++j) {
        const auto next = static_cast<Index>(number.size());
        const Index n = number.try_emplace(p.document(b, j), next).first->second;
        if (!p.mask.document_ids.empty()) document_.push_back(n);
        documents_ = std::max(documents_, n + 1);
      }
    }
  }

  std::unique_ptr<Definition> definition(const Inputs&, Index batch_entry, Index) const override {
    return std::make_unique<MeanDefinition>(problem(), batch_entry);
  }
  Cost cost(int threads) const override {
    const Problem& p = problem();
    Cost cost;
    cost.flops = static_cast<double>(p.batch * p.num_heads * (p.key_len + p.query_len)) *
                 static_cast<double>(p.value_dim);
    cost.workspace_bytes = static_cast<double>(threads * Workspace::bytes_for<double>(sums()) +
                                               threads * Workspace::bytes_for<float>(p.value_dim));
    cost.bytes_moved = least_traffic(p);
    return cost;
  }
  bool has_logsumexp() const override { return false; }
  Rounding rounding() const override { return {.score_roundings = 1, .sum_roundings = 2}; }

 private:
  // Per document: how many values, and their sum.
  Index sums() const { return documents_ * (problem().value_dim + 1); }
  Index document(Index b, Index token) const {
    return document_.empty() ? 0 : document_[static_cast<size_t>(b * problem().key_len + token)];
  }

  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    const Problem& p = problem();
    const Workspace::Scope scope(context.workspace());
    const std::span<double> all =
        context.workspace().take<double>(context.threads() * Workspace::rounded(8 * sums()) / 8);
    const std::span<float> rows = context.workspace().take<float>(
        context.threads() * Workspace::rounded(4 * p.value_dim) / 4);
    context.arena().for_each(p.batch * p.num_heads, [&](Index n, int worker) {
      double* sum = all.data() + worker * Workspace::rounded(8 * sums()) / 8;
      float* row = rows.data() + worker * Workspace::rounded(4 * p.value_dim) / 4;
      attend_head(inputs, outputs, n / p.num_heads, n % p.num_heads, sum, row);
    });
  }

  void attend_head(const Inputs& inputs, const Outputs& outputs, Index b, Index h, double* sums_of,
                   float* value) const {
    const Problem& p = problem();
    const Index width = p.value_dim + 1;
    std::fill_n(sums_of, sums(), 0.0);
    Index passed = 0;
    const auto pass_to = [&](Index end) {
      for (; passed < end; ++passed) {
        kernels::best().to_float(p.dtype, inputs.values.row(b, p.kv_head(h), passed), p.value_dim,
                                 value);
        double* sum = sums_of + document(b, passed) * width;
        for (Index c = 0; c < p.value_dim; ++c) sum[c] += static_cast<double>(value[c]);
        sum[p.value_dim] += 1;
      }
    };
    const Index end = p.visible_key_len(b);
    if (!p.mask.causal) pass_to(end);
    for (Index i = 0; i < p.query_len; ++i) {
      if (p.mask.causal) pass_to(std::min(p.position(i) + 1, end));
      const Index own = document_.empty() ? 0 : document(b, p.position(i));
      const double* sum = sums_of + own * width;
      const double count = sum[p.value_dim];
      float* output = outputs.output.row(b, h, i);
      for (Index c = 0; c < p.value_dim; ++c) {
        output[c] = count > 0 ? static_cast<float>(sum[c] / count) : 0.0f;
      }
    }
  }

  std::vector<Index> document_;  // [batch, key_len], or empty: one document
  Index documents_ = 1;
};

}  // namespace

const Variant kMeanValue = {
    .name = "mean_value",
    .summary = "null baseline: the mean of the visible values, whatever the query",
    .paper = "none; a floor for error figures",
    .options = {},
    .extra = {},
    .unsupported = [](const Problem& p, const Options&) -> std::string {
      if (!p.mask.alibi_slopes.empty()) {
        return "its weights are uniform, so an ALiBi bias has nothing to act on";
      }
      return "";
    },
    .traits = [](const Problem&,
                 const Options&) { return Traits{.rows = Traits::Rows::stochastic}; },
    .growth = [](const Options&) { return Growth{.time = 1, .memory = 0}; },
    .make = [](const Problem& problem, const Options&) -> std::unique_ptr<const Attention> {
      return std::make_unique<MeanValue>(problem);
    },
};

}  // namespace longattn
