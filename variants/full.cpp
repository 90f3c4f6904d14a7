#include "variants/full.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <numbers>

#include "core/block_schedule.h"
#include "core/kernels.h"
#include "core/matmul.h"
#include "core/softmax_definition.h"
#include "core/softmax_state.h"
#include "core/visibility.h"

namespace longattn {
namespace {

using kernels::kPanel;

constexpr float kNothing = -std::numeric_limits<float>::infinity();

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
    const Index scores = Workspace::bytes_for<float>(p.query_len * stride());
    const Index products = std::max(matmul_workspace_bytes(p.head_dim, p.key_len, threads),
                                    matmul_workspace_bytes(p.key_len, p.value_dim, threads));
    cost.workspace_bytes = static_cast<double>(
        scores + products + Workspace::bytes_for<float>(p.query_len * p.head_dim) +
        Workspace::bytes_for<float>(p.key_len * p.head_dim) +
        Workspace::bytes_for<float>(p.key_len * p.value_dim) +
        Workspace::bytes_for<bool>(p.key_len) + Workspace::bytes_for<TileMask>(threads) +
        threads * mask_bytes());
    cost.bytes_moved = least_traffic(p) + 4 * cost.scored_pairs;
    return cost;
  }

  Rounding rounding() const override {
    return {.score_roundings = static_cast<double>(problem().head_dim) + 6,
            .sum_roundings = static_cast<double>(problem().key_len) + 12};
  }

 private:
  Index stride() const { return kernels::round_up(problem().key_len, kPanel); }
  Index mask_bytes() const {
    return 2 * Workspace::bytes_for<Index>(1) +
           Workspace::bytes_for<std::uint64_t>(TileMask::words(problem().key_len)) +
           Workspace::bytes_for<float>(problem().key_len);
  }

  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override {
    for (Index b = 0; b < problem().batch; ++b) {
      for (Index h = 0; h < problem().num_heads; ++h) {
        attend_head(inputs, outputs, b, h, context);
      }
    }
  }

  void attend_head(const Inputs& inputs, const Outputs& outputs, Index b, Index h,
                   Context& context) const {
    const Problem& p = problem();
    Workspace& workspace = context.workspace();
    const Workspace::Scope scope(workspace);
    const ConstMatrix q = floats(inputs.queries, b, h, p.query_len, context);
    // Padding stays unread.
    const Index keys = p.visible_key_len(b);
    const ConstMatrix k = floats(inputs.keys, b, p.kv_head(h), keys, context);
    const std::span<float> scores = workspace.take<float>(p.query_len * stride());
    const Matrix s{scores.data(), p.query_len, keys, stride()};
    matmul_transposed(q, k, static_cast<float>(p.effective_scale() * std::numbers::log2e), s,
                      context);
    softmax_rows(s, b, h, outputs, context);
    add_values(inputs.values, s, b, h, outputs, context);
  }

  // The first `rows` rows of one head as float32: in place where they already are.
  ConstMatrix floats(const ConstTensorView& view, Index b, Index head, Index rows,
                     Context& context) const {
    if (view.dtype == DType::float32) {
      return {view.float_row(b, head, 0), rows, view.dim(), view.strides[2]};
    }
    const std::span<float> converted = context.workspace().take<float>(view.len() * view.dim());
    for (Index r = 0; r < rows; ++r) {
      kernels::best().to_float(view.dtype, view.row(b, head, r), view.dim(),
                               converted.data() + r * view.dim());
    }
    return {converted.data(), rows, view.dim(), view.dim()};
  }

  void softmax_rows(const Matrix& s, Index b, Index h, const Outputs& outputs,
                    Context& context) const {
    Workspace& workspace = context.workspace();
    const Workspace::Scope scope(workspace);
    const Index columns = problem().key_len;
    const std::span<TileMask> masks = workspace.take<TileMask>(context.threads());
    for (TileMask& mask : masks) {
      std::construct_at(&mask);
      mask.begin = workspace.take<Index>(1);
      mask.end = workspace.take<Index>(1);
      mask.bits = workspace.take<std::uint64_t>(TileMask::words(columns));
      mask.bias = workspace.take<float>(columns);
    }
    constexpr Index kRowsPerTask = 16;
    context.arena().for_each((s.rows + kRowsPerTask - 1) / kRowsPerTask, [&](Index n, int worker) {
      TileMask& mask = masks[static_cast<size_t>(worker)];
      for (Index i = n * kRowsPerTask; i < std::min((n + 1) * kRowsPerTask, s.rows); ++i) {
        const float lse = softmax_row(s, b, h, i, mask);
        if (!outputs.logsumexp.empty()) *outputs.logsumexp.row(b, h, i) = lse;
      }
    });
  }

  // Turns row i of scores into probabilities; returns its logsumexp.
  float softmax_row(const Matrix& s, Index b, Index h, Index i, TileMask& mask) const {
    const Problem& p = problem();
    float* row = s.data + i * s.stride;
    const Index padded = kernels::round_up(s.columns, kPanel);
    mask.reset(1, s.columns);
    apply_mask(p, {b, h, {i, 1}, {0, s.columns}}, mask);
    const Index begin = mask.begin[0], end = std::max(mask.end[0], begin);
    std::fill(row, row + begin, kNothing);
    std::fill(row + end, row + padded, kNothing);
    for (Index c = begin; mask.uses_bias && c < end; ++c) {
      row[c] += mask.bias[c] * std::numbers::log2e_v<float>;
    }
    for (Index c = begin; mask.uses_bits && c < end; ++c) {
      if (!mask.sees(0, c)) row[c] = kNothing;
    }
    float maximum = kNothing, sum = 0;
    float factor = 1;
    if (padded > 0) {
      kernels::best().float32.softmax(1, padded, 1.0f, row, s.stride, &maximum, &sum, &factor);
    }
    const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
    kernels::best().scale(row, padded, inverse, row);
    return logsumexp_from(maximum, sum);
  }

  // O = P V. Values that are not finite are taken out of the product, because a hidden one would
  // reach every row as 0 * NaN, and added to the rows that see them.
  void add_values(const ConstTensorView& values, const Matrix& probs, Index b, Index h,
                  const Outputs& outputs, Context& context) const {
    const Problem& p = problem();
    Workspace& workspace = context.workspace();
    const Workspace::Scope scope(workspace);
    const Index kv_head = p.kv_head(h);
    const ConstMatrix v = floats(values, b, kv_head, probs.columns, context);
    const std::span<bool> odd = workspace.take<bool>(probs.columns);
    bool any = false;
    for (Index j = 0; j < probs.columns; ++j) {
      odd[static_cast<size_t>(j)] = !kernels::best().all_finite(v.data + j * v.stride, p.value_dim);
      any = any || odd[static_cast<size_t>(j)];
    }
    ConstMatrix finite = v;
    if (any) {
      const std::span<float> copy = workspace.take<float>(p.key_len * p.value_dim);
      for (Index j = 0; j < probs.columns; ++j) {
        float* row = copy.data() + j * p.value_dim;
        if (odd[static_cast<size_t>(j)]) {
          std::fill_n(row, p.value_dim, 0.0f);
        } else {
          std::copy_n(v.data + j * v.stride, p.value_dim, row);
        }
      }
      finite = {copy.data(), probs.columns, p.value_dim, p.value_dim};
    }
    const Matrix output{outputs.output.row(b, h, 0), p.query_len, p.value_dim,
                        outputs.output.strides[2]};
    matmul({probs.data, probs.rows, probs.columns, probs.stride}, finite, 1.0f, output, context);
    if (!any) return;
    for (Index i = 0; i < p.query_len; ++i) {
      for (Index j = 0; j < probs.columns; ++j) {
        if (!odd[static_cast<size_t>(j)] || !p.visible(b, i, j)) continue;
        const float weight = probs.data[i * probs.stride + j];
        for (Index c = 0; c < p.value_dim; ++c) {
          output.data[i * output.stride + c] += weight * v.data[j * v.stride + c];
        }
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
