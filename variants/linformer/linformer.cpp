#include "variants/linformer/linformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/blocked_attention.h"
#include "core/dense_schedule.h"
#include "core/kernels.h"
#include "variants/linformer/projections.h"

namespace longattn {
namespace {

class LinformerDefinition final : public Definition {
 public:
  LinformerDefinition(const Problem& p, const Projections& e_and_f, const Inputs& inputs, Index b,
                      Index head)
      : p_(p), e_and_f_(e_and_f), queries_(inputs.queries), b_(b), head_(head) {
    projected_keys_ = Eigen::MatrixXd::Zero(e_and_f.length(), p.head_dim);
    absolute_keys_ = projected_keys_;
    Eigen::VectorXd key(p.head_dim);
    for (Index j = 0; j < p.visible_key_len(b); ++j) {
      load_row(inputs.keys, b, p.kv_head(head), j, key.data());
      for (Index row = 0; row < e_and_f.length(); ++row) {
        const double e = e_and_f.entry(Side::keys, head, row, j);
        if (e == 0) continue;
        projected_keys_.row(row) += e * key;
        absolute_keys_.row(row) += std::abs(e) * key.cwiseAbs();
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
      const Eigen::VectorXd scores = p_.effective_scale() * (projected_keys_ * q);
      const Eigen::VectorXd weights = (scores.array() - scores.maxCoeff()).exp();
      probs.row(r) = weights / weights.sum();
      result.score_bound(r) =
          std::abs(p_.effective_scale()) * (absolute_keys_ * q.cwiseAbs()).maxCoeff();
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
  Eigen::MatrixXd projected_keys_, absolute_keys_;  // E K, and |E| |K|
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
    const auto products = static_cast<double>(p.batch * projected_.num_kv_heads * p.key_len) *
                          static_cast<double>(width());
    cost.flops += 2 * products * static_cast<double>(e_and_f_.pooled() ? 1 : e_and_f_.length());
    cost.bytes_moved = least_traffic(p) + 4 * e_and_f_.numbers();
    const auto attending = static_cast<Index>(cost.workspace_bytes);
    const Index kept = Workspace::bytes_for<float>(projected_floats()) +
                       Workspace::bytes_for<float>(query_floats());
    cost.workspace_bytes = static_cast<double>(kept + std::max(attending, projecting(threads)));
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
  // A row of keys and values side by side, so that one pass over E projects both.
  Index width() const { return problem().head_dim + problem().value_dim; }
  Index projected_floats() const {
    return projected_.batch * projected_.num_kv_heads * projected_.key_len * width();
  }
  Index query_floats() const {
    const Problem& p = problem();
    return p.dtype == DType::float32 ? 0 : p.batch * p.num_heads * p.query_len * p.head_dim;
  }
  Index projecting(int threads) const {
    if (e_and_f_.pooled()) return Workspace::bytes_for<float>(threads * width());
    return Workspace::bytes_for<float>(problem().key_len * width()) +
           matmul_workspace_bytes(problem().key_len, width(), threads);
  }

  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    const Workspace::Scope scope(context.workspace());
    const std::span<float> rows = context.workspace().take<float>(projected_floats());
    if (e_and_f_.pooled()) {
      pool(inputs, rows.data(), context);
    } else {
      multiply(inputs, rows.data(), context);
    }
    const std::array<Index, 4> key_shape = {projected_.batch, projected_.num_kv_heads,
                                            projected_.key_len, projected_.head_dim};
    ConstTensorView keys{rows.data(), DType::float32, key_shape, {}};
    keys.strides = {projected_.num_kv_heads * projected_.key_len * width(),
                    projected_.key_len * width(), width()};
    ConstTensorView values = keys;
    values.data = rows.data() + problem().head_dim;
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
        to_float(queries, n / queries.heads(), n % queries.heads(), i, out);
      }
    });
    return {copy.data(), DType::float32, queries.shape, dense_strides(queries.shape)};
  }

  static void to_float(const ConstTensorView& view, Index b, Index head, Index row, float* out) {
    kernels::best().to_float(view.dtype, view.row(b, head, row), view.dim(), out);
  }
  // Key j and its value, side by side.
  void load_pair(const Inputs& inputs, Index b, Index kv_head, Index j, float* out) const {
    to_float(inputs.keys, b, kv_head, j, out);
    to_float(inputs.values, b, kv_head, j, out + problem().head_dim);
  }

  // Of the n-th projected head over all batch entries.
  struct Head {
    Index batch_entry, head, kv_head;
  };
  Head head_at(Index n) const {
    const Index head = n % projected_.num_kv_heads;
    return {n / projected_.num_kv_heads, head,
            e_and_f_.per_head() ? problem().kv_head(head) : head};
  }

  void multiply(const Inputs& inputs, float* projected, Context& context) const {
    constexpr Index kChunk = 256;
    const Index head_dim = problem().head_dim, rows = e_and_f_.length();
    const Workspace::Scope scope(context.workspace());
    const std::span<float> pairs = context.workspace().take<float>(problem().key_len * width());
    for (Index n = 0; n < projected_.batch * projected_.num_kv_heads; ++n) {
      const Head at = head_at(n);
      const Index seen = problem().visible_key_len(at.batch_entry);
      context.arena().for_each((seen + kChunk - 1) / kChunk, [&](Index chunk, int) {
        for (Index j = chunk * kChunk; j < std::min((chunk + 1) * kChunk, seen); ++j) {
          load_pair(inputs, at.batch_entry, at.kv_head, j, pairs.data() + j * width());
        }
      });
      const auto project = [&](Side side, Index first, Index columns) {
        ConstMatrix e = e_and_f_.dense(side, at.head);
        e.columns = seen;  // the rest would meet padding
        matmul(e, {pairs.data() + first, seen, columns, width()}, 1.0f,
               {projected + n * rows * width() + first, rows, columns, width()}, context);
      };
      if (e_and_f_.same_for_keys_and_values()) {
        project(Side::keys, 0, width());
      } else {
        project(Side::keys, 0, head_dim);
        project(Side::values, head_dim, problem().value_dim);
      }
    }
  }

  void pool(const Inputs& inputs, float* projected, Context& context) const {
    const Index rows = e_and_f_.length(), heads = projected_.batch * projected_.num_kv_heads;
    const Workspace::Scope scope(context.workspace());
    const std::span<float> pairs = context.workspace().take<float>(context.threads() * width());
    context.arena().for_each(heads * rows, [&](Index task, int worker) {
      const Head at = head_at(task / rows);
      const Index row = task % rows, seen = problem().visible_key_len(at.batch_entry);
      const auto [begin, end] = e_and_f_.segment(row);
      float* out = projected + task * width();
      float* pair = pairs.data() + worker * width();
      std::fill_n(out, width(), 0.0f);
      for (Index j = begin; j < std::min(end, seen); ++j) {
        load_pair(inputs, at.batch_entry, at.kv_head, j, pair);
        const auto e = static_cast<float>(e_and_f_.entry(Side::keys, at.head, row, j));
        const auto f = static_cast<float>(e_and_f_.entry(Side::values, at.head, row, j));
        for (Index c = 0; c < problem().head_dim; ++c) out[c] += e * pair[c];
        for (Index c = problem().head_dim; c < width(); ++c) out[c] += f * pair[c];
      }
    });
  }

  const Projections e_and_f_;
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
