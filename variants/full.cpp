#include "variants/full.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <type_traits>

#include "core/block_schedule.h"
#include "core/kernels.h"
#include "core/softmax_definition.h"
#include "core/softmax_state.h"
#include "core/visibility.h"

namespace longattn {
namespace {

using kernels::kPanel;

constexpr float kNothing = -std::numeric_limits<float>::infinity();

constexpr Index kRows = 8 * kernels::kStrip;  // of one task
constexpr Index kKeys = 512;                  // whose packed columns stay in the L2 cache

// Buffers of one worker.
struct Scratch {
  std::span<float> queries;  // strips
  std::span<float> convert;  // [kStrip, head_dim]
  std::span<float> output;   // [kRows, value_columns]
  TileMask mask;             // of one row
};

static_assert(std::is_trivially_destructible_v<Scratch>, "it lives in a Workspace");

// The sizes behind one problem.
struct Sizes {
  explicit Sizes(const Problem& problem)
      : p(problem),
        // One panel more than needed: with a power of two all rows of a strip meet in one cache
        // set.
        stride(kernels::round_up(p.key_len, kPanel) + kPanel),
        value_columns(kernels::round_up(p.value_dim, kernels::kRowPad)) {}

  Scratch take_scratch(Workspace& w) const {
    Scratch scratch{w.take<float>(kRows * p.head_dim),
                    w.take<float>(kernels::kStrip * p.head_dim),
                    w.take<float>(kRows * value_columns),
                    {}};
    scratch.mask.begin = w.take<Index>(1);
    scratch.mask.end = w.take<Index>(1);
    scratch.mask.bits = w.take<std::uint64_t>(TileMask::words(p.key_len));
    scratch.mask.bias = w.take<float>(p.key_len);
    return scratch;
  }
  Index scratch_bytes() const {
    return Workspace::bytes_for<float>(kRows * p.head_dim) +
           Workspace::bytes_for<float>(kernels::kStrip * p.head_dim) +
           Workspace::bytes_for<float>(kRows * value_columns) + 2 * Workspace::bytes_for<Index>(1) +
           Workspace::bytes_for<std::uint64_t>(TileMask::words(p.key_len)) +
           Workspace::bytes_for<float>(p.key_len);
  }
  Index bytes(int threads) const {
    return Workspace::bytes_for<float>(p.query_len * stride) +
           Workspace::bytes_for<float>(stride * p.head_dim) +
           Workspace::bytes_for<float>(p.key_len * value_columns) +
           Workspace::bytes_for<bool>(p.key_len) +
           Workspace::bytes_for<float>(threads * convert_floats()) +
           Workspace::bytes_for<Scratch>(threads) + threads * scratch_bytes();
  }
  Index convert_floats() const { return kPanel * p.head_dim; }

  const Problem& p;
  Index stride;         // of the score matrix, whole panels
  Index value_columns;  // value_dim, padded
};

// One head of one batch entry: its keys packed, its values as floats, its score matrix.
class Head {
 public:
  Head(const Sizes& sizes, const Inputs& inputs, const Outputs& outputs, Index batch_entry,
       Index head, Context& context)
      : p_(sizes.p),
        sizes_(sizes),
        inputs_(inputs),
        outputs_(outputs),
        b_(batch_entry),
        h_(head),
        keys_(p_.visible_key_len(b_)),  // padding stays unread
        context_(context) {}

  void run() {
    Workspace& workspace = context_.workspace();
    const Workspace::Scope scope(workspace);
    scores_ = workspace.take<float>(p_.query_len * sizes_.stride);
    packed_ = workspace.take<float>(sizes_.stride * p_.head_dim);
    values_ = workspace.take<float>(p_.key_len * sizes_.value_columns);
    odd_ = workspace.take<bool>(p_.key_len);
    convert_ = workspace.take<float>(context_.threads() * sizes_.convert_floats());
    const std::span<Scratch> scratch = workspace.take<Scratch>(context_.threads());
    for (Scratch& worker : scratch) std::construct_at(&worker, sizes_.take_scratch(workspace));

    context_.arena().for_each((keys_ + kPanel - 1) / kPanel, [&](Index panel, int worker) {
      pack(panel, convert_.data() + worker * sizes_.convert_floats());
    });
    any_odd_ = std::find(odd_.begin(), odd_.begin() + keys_, true) != odd_.begin() + keys_;
    context_.arena().for_each((p_.query_len + kRows - 1) / kRows, [&](Index n, int worker) {
      attend(n * kRows, std::min(kRows, p_.query_len - n * kRows),
             scratch[static_cast<size_t>(worker)]);
    });
  }

 private:
  const float* floats(const ConstTensorView& view, Index head, Index row, float* target) const {
    if (view.dtype == DType::float32) return view.float_row(b_, head, row);
    k_.to_float(view.dtype, view.row(b_, head, row), view.dim(), target);
    return target;
  }

  // Packs a panel of keys and copies their values, an infinite or NaN element as zero: hidden, it
  // would reach every row as 0 * NaN.
  void pack(Index panel, float* convert) {
    const Index first = panel * kPanel, count = std::min(kPanel, keys_ - first);
    const Index kv_head = p_.kv_head(h_);
    const float* rows[kPanel];
    for (Index c = 0; c < count; ++c) {
      rows[c] = floats(inputs_.keys, kv_head, first + c, convert + c * p_.head_dim);
    }
    k_.pack_panel(rows, count, p_.head_dim, packed_.data() + first * p_.head_dim);
    for (Index j = first; j < first + count; ++j) {
      float* value = values_.data() + j * sizes_.value_columns;
      k_.to_float(p_.dtype, inputs_.values.row(b_, kv_head, j), p_.value_dim, value);
      std::fill(value + p_.value_dim, value + sizes_.value_columns, 0.0f);
      odd_[static_cast<size_t>(j)] = !k_.all_finite(value, p_.value_dim);
      if (!odd_[static_cast<size_t>(j)]) continue;
      for (Index c = 0; c < p_.value_dim; ++c) value[c] = std::isfinite(value[c]) ? value[c] : 0;
    }
  }

  // A block of rows: scores, softmax, values; what is done to a row of the score matrix is done
  // while it is in a cache.
  void attend(Index first, Index rows, Scratch& scratch) {
    const auto factor = static_cast<float>(p_.effective_scale() * std::numbers::log2e);
    for_each_strip(rows, [&](Index r, Index count) {
      const float* queries[kernels::kStrip];
      for (Index n = 0; n < count; ++n) {
        queries[n] =
            floats(inputs_.queries, h_, first + r + n, scratch.convert.data() + n * p_.head_dim);
      }
      k_.pack_strip(queries, count, p_.head_dim, factor, scratch.queries.data() + r * p_.head_dim);
    });
    for_each_tile([&](Index key, Index count) {
      for_each_strip(rows, [&](Index r, Index strip_rows) {
        k_.float32.scores(strip_rows, p_.head_dim, scratch.queries.data() + r * p_.head_dim,
                          packed_.data() + key * p_.head_dim, {0, kernels::round_up(count, kPanel)},
                          row(first + r) + key, sizes_.stride, false, nullptr);
      });
    });
    float maximum[kRows], sum[kRows];
    for_each_strip(rows, [&](Index r, Index count) {
      softmax(first + r, count, maximum + r, sum + r, scratch.mask);
    });
    float* output = scratch.output.data();
    std::fill_n(output, rows * sizes_.value_columns, 0.0f);
    for_each_tile([&](Index key, Index count) {
      for_each_strip(rows, [&](Index r, Index strip_rows) {
        k_.float32.accumulate(strip_rows, count, row(first + r) + key, sizes_.stride,
                              values_.data() + key * sizes_.value_columns, sizes_.value_columns,
                              sizes_.value_columns, output + r * sizes_.value_columns,
                              sizes_.value_columns);
      });
    });
    for (Index r = 0; r < rows; ++r) {
      if (any_odd_) add_odd_values(first + r, output + r * sizes_.value_columns);
      const float inverse = sum[r] == 0 ? 0.0f : 1.0f / sum[r];
      k_.scale(output + r * sizes_.value_columns, p_.value_dim, inverse,
               outputs_.output.row(b_, h_, first + r));
      if (!outputs_.logsumexp.empty()) {
        *outputs_.logsumexp.row(b_, h_, first + r) = logsumexp_from(maximum[r], sum[r]);
      }
    }
  }

  float* row(Index query) { return scores_.data() + query * sizes_.stride; }

  template <class Body>
  static void for_each_strip(Index rows, Body body) {
    for (Index r = 0; r < rows; r += kernels::kStrip) body(r, std::min(kernels::kStrip, rows - r));
  }
  template <class Body>
  void for_each_tile(Body body) const {
    for (Index key = 0; key < keys_; key += kKeys) body(key, std::min(kKeys, keys_ - key));
  }

  // Turns rows of scores into exponentials, their sum beside them.
  void softmax(Index query, Index count, float* maximum, float* sum, TileMask& mask) {
    const Index padded = kernels::round_up(keys_, kPanel);
    for (Index r = 0; r < count; ++r) {
      maximum[r] = kNothing;
      sum[r] = 0;
      hide(query + r, padded, mask);
    }
    float correction[kernels::kStrip];
    if (padded > 0) {
      k_.float32.softmax(count, padded, 1.0f, row(query), sizes_.stride, maximum, sum, correction);
    }
  }

  // Adds the bias and hides what the query does not see.
  void hide(Index query, Index padded, TileMask& mask) {
    float* scores = row(query);
    mask.reset(1, keys_);
    apply_mask(p_, {b_, h_, {query, 1}, {0, keys_}}, mask);
    const Index begin = mask.begin[0], end = std::max(mask.end[0], begin);
    std::fill(scores, scores + begin, kNothing);
    std::fill(scores + end, scores + padded, kNothing);
    for (Index c = begin; mask.uses_bias && c < end; ++c) {
      scores[c] += mask.bias[c] * std::numbers::log2e_v<float>;
    }
    for (Index c = begin; mask.uses_bits && c < end; ++c) {
      if (!mask.sees(0, c)) scores[c] = kNothing;
    }
  }

  void add_odd_values(Index query, float* output) {
    for (Index j = 0; j < keys_; ++j) {
      if (!odd_[static_cast<size_t>(j)] || !p_.visible(b_, query, j)) continue;
      for (Index c = 0; c < p_.value_dim; ++c) {
        float value;
        load_floats(p_.dtype,
                    static_cast<const std::byte*>(inputs_.values.row(b_, p_.kv_head(h_), j)) +
                        c * byte_size(p_.dtype),
                    1, &value);
        if (!std::isfinite(value)) output[c] += row(query)[j] * value;
      }
    }
  }

  const Problem& p_;
  const Sizes& sizes_;
  const Inputs& inputs_;
  const Outputs& outputs_;
  const Index b_, h_, keys_;
  Context& context_;
  const kernels::Kernels& k_ = kernels::best();
  std::span<float> scores_, packed_, values_, convert_;
  std::span<bool> odd_;
  bool any_odd_ = false;
};

class Full final : public Attention {
 public:
  using Attention::Attention;

  std::unique_ptr<Definition> definition(const Inputs& inputs, Index batch_entry,
                                         Index head) const override {
    return softmax_definition(problem(), inputs, batch_entry, head);
  }

  Cost cost(int threads) const override {
    const Problem& p = problem();
    Cost cost;
    cost.scored_pairs =
        static_cast<double>(p.batch * p.num_heads * p.query_len) * static_cast<double>(p.key_len);
    cost.flops = 2 * cost.scored_pairs * static_cast<double>(p.head_dim + p.value_dim);
    cost.workspace_bytes = static_cast<double>(Sizes(p).bytes(threads));
    cost.bytes_moved = least_traffic(p) + 4 * cost.scored_pairs;
    return cost;
  }

  Rounding rounding() const override {
    return {.score_roundings = static_cast<double>(problem().head_dim) + 6,
            .sum_roundings = static_cast<double>(problem().key_len) + 12};
  }

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    const Sizes sizes(problem());
    for (Index b = 0; b < problem().batch; ++b) {
      for (Index h = 0; h < problem().num_heads; ++h) {
        Head(sizes, inputs, outputs, b, h, context).run();
      }
    }
  }
};

}  // namespace

const Variant kFull = {
    .name = "full",
    .summary = "softmax(QK^T)V with the score matrix in memory: the baseline everyone knows",
    .paper = "Vaswani et al. 2017, Attention Is All You Need, equation 1",
    .options = {},
    .extra = {},
    .unsupported = [](const Problem&, const Options&) -> std::string { return ""; },
    .traits = [](const Problem&, const Options&) { return Traits{.exact = true}; },
    .growth = [](const Options&) { return Growth{.time = 2, .memory = 2}; },
    .make = [](const Problem& problem, const Options&) -> std::unique_ptr<const Attention> {
      return std::make_unique<Full>(problem);
    },
};

}  // namespace longattn
