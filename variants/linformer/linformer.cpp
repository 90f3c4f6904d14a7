#include "variants/linformer/linformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/blocked_attention.h"
#include "core/dense_schedule.h"
#include "core/kernels.h"
#include "variants/linformer/projections.h"
#include "variants/linformer/projector.h"

namespace longattn {
namespace {

class LinformerDefinition final : public Definition {
 public:
  LinformerDefinition(const Problem& p, const Projections& e_and_f, const Inputs& inputs, Index b,
                      Index head)
      : p_(p), e_and_f_(e_and_f), queries_(inputs.queries), b_(b), head_(head) {
    projected_keys_ = Eigen::MatrixXd::Zero(p.head_dim, e_and_f.length());
    absolute_keys_ = projected_keys_;
    Eigen::VectorXd key(p.head_dim);
    for (Index j = 0; j < p.visible_key_len(b); ++j) {
      load_row(inputs.keys, b, p.kv_head(head), j, key.data());
      for (Index row = 0; row < e_and_f.length(); ++row) {
        const double e = e_and_f.entry(Side::keys, head, row, j);
        if (e == 0) continue;
        projected_keys_.col(row) += e * key;
        absolute_keys_.col(row) += std::abs(e) * key.cwiseAbs();
      }
    }
  }

  Rows rows(std::span<const Index> queries) const override {
    const auto count = static_cast<Index>(queries.size());
    Rows result;
    result.score_bound = Eigen::VectorXd::Zero(count);
    Eigen::MatrixXd probs(count, e_and_f_.length());
    Eigen::VectorXd q(p_.head_dim);
    for (Index r = 0; r < count; ++r) {
      load_row(queries_, b_, head_, queries[static_cast<size_t>(r)], q.data());
      const Eigen::VectorXd scores = p_.effective_scale() * (projected_keys_.transpose() * q);
      const Eigen::VectorXd weights = (scores.array() - scores.maxCoeff()).exp();
      probs.row(r) = weights / weights.sum();
      result.score_bound(r) =
          std::abs(p_.effective_scale()) * (absolute_keys_.transpose() * q.cwiseAbs()).maxCoeff();
    }
    result.weights = Eigen::MatrixXd::Zero(count, p_.key_len);
    result.magnitudes = result.weights;
    Eigen::VectorXd f(e_and_f_.length());
    for (Index j = 0; j < p_.visible_key_len(b_); ++j) {
      for (Index row = 0; row < f.size(); ++row) {
        f(row) = e_and_f_.entry(Side::values, head_, row, j);
      }
      result.weights.col(j) = probs * f;
      result.magnitudes.col(j) = probs * f.cwiseAbs();
    }
    return result;
  }

 private:
  const Problem p_;
  const Projections& e_and_f_;
  const ConstTensorView queries_;
  const Index b_, head_;
  Eigen::MatrixXd projected_keys_, absolute_keys_;  // (E K)^T, and (|E| |K|)^T
};

// Full attention over the projected keys.
Problem projected_problem(const Problem& p, const Projections& e_and_f) {
  Problem projected = p;
  projected.key_len = e_and_f.length();
  if (e_and_f.per_head()) projected.num_kv_heads = p.num_heads;
  projected.dtype = DType::float32;
  projected.scale = p.effective_scale();
  projected.mask = {};
  return projected;
}

class Linformer final : public Attention {
 public:
  Linformer(const Problem& p, const Options& options)
      : Attention(p),
        e_and_f_(problem(), options),
        projector_(problem(), e_and_f_),
        projected_(projected_problem(problem(), e_and_f_)),
        schedule_(projected_, default_query_block(), default_key_block(projected_)) {}

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    return std::make_unique<LinformerDefinition>(problem(), e_and_f_, inputs, b, head);
  }

  Cost cost(int threads) const override {
    const Problem& p = problem();
    const auto rows = static_cast<double>(p.batch * p.num_heads * p.query_len);
    Cost cost =
        blocked_cost(projected_, schedule_, rows * static_cast<double>(e_and_f_.length()), threads);
    const auto products = static_cast<double>(p.batch * projector_.heads() * p.key_len) *
                          static_cast<double>(p.head_dim + p.value_dim);
    cost.flops += 2 * products * static_cast<double>(e_and_f_.pooled() ? 1 : e_and_f_.length());
    cost.bytes_moved = least_traffic(p) + static_cast<double>(e_and_f_.bytes());
    cost.held_bytes = static_cast<double>(e_and_f_.bytes());
    const auto attending = static_cast<Index>(cost.workspace_bytes);
    const Index copied = Workspace::bytes_for<float>(query_floats());
    cost.workspace_bytes =
        static_cast<double>(Workspace::bytes_for<float>(projector_.floats()) +
                            std::max(copied + attending, projector_.workspace_bytes(threads)));
    return cost;
  }

  bool has_logsumexp() const override { return false; }

  // A projected key or value is a sum of `terms` products of a rounded projection (a mean: a
  // rounded 1 / length); the score and the softmax over the projected keys are the engine's.
  Rounding rounding() const override {
    Rounding rounding = blocked_rounding(projected_, schedule_.key_block());
    rounding.score_roundings += static_cast<double>(e_and_f_.terms()) + 2;
    rounding.sum_roundings += static_cast<double>(e_and_f_.terms()) + 2;
    return rounding;
  }

 private:
  Index query_floats() const {
    const Problem& p = problem();
    return p.dtype == DType::float32 ? 0 : p.batch * p.num_heads * p.query_len * p.head_dim;
  }
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    const Workspace::Scope scope(context.workspace());
    const std::span<float> rows = context.workspace().take<float>(projector_.floats());
    projector_.project(inputs, rows.data(), context);
    const std::array<Index, 4> key_shape = {projected_.batch, projected_.num_kv_heads,
                                            projected_.key_len, projected_.head_dim};
    ConstTensorView keys{rows.data(), DType::float32, key_shape, {}};
    const Index width = projector_.width();
    keys.strides = {projected_.num_kv_heads * projected_.key_len * width,
                    projected_.key_len * width, width};
    ConstTensorView values = keys;
    values.data = rows.data() + projector_.value_column();
    values.shape[3] = problem().value_dim;
    blocked_attention(projected_, {float_queries(inputs.queries, context), keys, values, {}},
                      schedule_, outputs, context);
  }

  // The projected keys are float32, so the queries that meet them are too.
  ConstTensorView float_queries(const ConstTensorView& queries, Context& context) const {
    if (queries.dtype == DType::float32) return queries;
    const std::span<float> copy = context.workspace().take<float>(query_floats());
    context.arena().for_each(queries.batch() * queries.heads(), [&](Index n, int) {
      float* out = copy.data() + n * queries.len() * queries.dim();
      for (Index i = 0; i < queries.len(); ++i, out += queries.dim()) {
        kernels::best().to_float(queries.dtype,
                                 queries.row(n / queries.heads(), n % queries.heads(), i),
                                 queries.dim(), out);
      }
    });
    return {copy.data(), DType::float32, queries.shape, dense_strides(queries.shape)};
  }

  const Projections e_and_f_;
  const Projector projector_;
  const Problem projected_;
  const DenseSchedule schedule_;
};

std::string unsupported(const Problem& p, const Options& options) {
  if (p.mask.causal) {
    return "every projected key mixes keys of the whole sequence, so no causal mask can hold";
  }
  if (!p.mask.document_ids.empty()) {
    return "a projected key mixes keys of all documents, so they cannot be kept apart";
  }
  if (!p.mask.alibi_slopes.empty()) {
    return "a projected key has no position, so an ALiBi bias has nothing to act on";
  }
  if (std::string wrong = wrong_files(p, options); !wrong.empty()) return wrong;
  if (const Index length = projected_len(p, options); length > std::max<Index>(p.key_len, 1)) {
    return fmt::format("projected_len {} is more than key_len {}: that is no compression", length,
                       p.key_len);
  }
  return "";
}

bool padded(const Problem& p) {
  return std::ranges::any_of(p.mask.key_lengths, [&](Index n) { return n < p.key_len; });
}

Traits traits(const Problem& p, const Options& options) {
  const std::string& kind = options.text("projection");
  const bool means = kind == "mean_pool" && !padded(p);
  Traits traits;
  traits.rows = means ? Traits::Rows::stochastic : Traits::Rows::signed_;
  traits.causality = Traits::Causality::none;
  traits.exact = means && projected_len(p, options) == p.key_len;
  traits.heads_alike = options.text("share") != "none" || kind == "mean_pool" || kind == "file";
  return traits;
}

}  // namespace

const Variant kLinformer = {
    .name = "linformer",
    .summary = "keys and values projected to a fixed length (learned from a file, or untrained)",
    .paper = "Wang et al. 2020, Linformer: Self-Attention with Linear Complexity, section 4",
    .options =
        {{.name = "projected_len",
          .type = OptionType::integer,
          .default_value = Automatic{},
          .doc = "rows that keys and values are projected to; auto: key_len / 8, at most 256",
          .minimum = 1,
          .may_be_auto = true},
         {.name = "projection",
          .type = OptionType::choice,
          .default_value = std::string("gaussian"),
          .doc = "how: gaussian and conv hold random, untrained numbers; file reads learned ones",
          .choices = {"gaussian", "mean_pool", "conv", "file"}},
         {.name = "e",
          .type = OptionType::path,
          .default_value = std::string(),
          .doc = "with projection=file: .npy of [projected_len, key_len], for keys"},
         {.name = "f",
          .type = OptionType::path,
          .default_value = std::string(),
          .doc = "with projection=file: the same for values; without it, e serves both"},
         {.name = "share",
          .type = OptionType::choice,
          .default_value = std::string("key_value"),
          .doc = "drawn projections: one for all heads, keys and values; one for keys and one for "
                 "values (headwise); or two a head (none)",
          .choices = {"none", "headwise", "key_value"}},
         {.name = "seed",
          .type = OptionType::integer,
          .default_value = Index{1},
          .doc = "of drawn projections",
          .minimum = 0}},
    .extra = {},
    .unsupported = unsupported,
    .traits = traits,
    .growth = [](const Options&) { return Growth{.time = 1, .memory = 1}; },
    .make = [](const Problem& problem, const Options& options) -> std::unique_ptr<const Attention> {
      return std::make_unique<Linformer>(problem, options);
    },
    .remark = [](const Options& options) -> std::string {
      const std::string& kind = options.text("projection");
      return kind == "gaussian" || kind == "conv" ? "untrained" : "";
    },
};

}  // namespace longattn
