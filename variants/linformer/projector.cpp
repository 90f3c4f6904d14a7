#include "variants/linformer/projector.h"

#include <algorithm>

#include "core/fetch.h"

namespace longattn {
namespace {

using kernels::kPanel;
using kernels::kStrip;

constexpr Index kChunk = 256;   // keys: times all columns they stay in the L2 cache
constexpr Index kFewTasks = 8;  // with fewer, threads would wait for the last one

}  // namespace

Projector::Projector(const Problem& problem, const Projections& projections)
    : problem_(problem),
      projections_(projections),
      heads_(projections.per_head() ? problem.num_heads : problem.num_kv_heads),
      rows_(projections.length()) {}

Index Projector::workspace_bytes(int threads) const {
  return Workspace::bytes_for<float>(threads * (projections_.pooled() ? 1 : kChunk) * width());
}

void Projector::project(const Inputs& inputs, float* projected, Context& context) const {
  projections_.pooled() ? pool(inputs, projected, context) : multiply(inputs, projected, context);
}

Projector::Head Projector::head_at(Index n) const {
  const Index head = n % heads_;
  return {n / heads_, head, projections_.per_head() ? problem_.kv_head(head) : head};
}

// Keys [first, first + count) and their values as panels of the kernels.
void Projector::pack(const Inputs& inputs, const Head& at, Index first, Index count,
                     float* panels) const {
  const auto& kernel = kernels::best();
  for (const ConstTensorView* view : {&inputs.keys, &inputs.values}) {
    const Index dim = view->dim(), bytes = byte_size(view->dtype);
    for (Index j = 0; j < count; ++j) {
      const auto* row =
          static_cast<const std::byte*>(view->row(at.batch_entry, at.kv_head, first + j));
      float* out = panels + j * kPanel;
      for (Index column = 0; column < dim; column += kPanel, out += count * kPanel) {
        const Index columns = std::min(kPanel, dim - column);
        kernel.to_float(view->dtype, row + column * bytes, columns, out);
        std::fill(out + columns, out + kPanel, 0.0f);
      }
    }
    panels += count * padded(dim);
  }
}

// Keys [first, first + count) of rows row, ... of E, which the product of its first panel reads.
kernels::Ahead Projector::strip_ahead(Index head, Index row, Index first, Index count) const {
  if (count == 0) return {};
  kernels::Ahead strip;
  strip.line = reinterpret_cast<const char*>(projections_.strip(side_of(0), head, row, first));
  strip.lines = projections_.strip_rows(row) * count * byte_size(DType::float32) / strip.kLine;
  return strip;
}

void Projector::multiply(const Inputs& inputs, float* projected, Context& context) const {
  const Workspace::Scope scope(context.workspace());
  const std::span<float> panels =
      context.workspace().take<float>(context.threads() * kChunk * width());
  const Index heads = problem_.batch * heads_, strips = (rows_ + kStrip - 1) / kStrip;
  const Index parts = std::clamp((kFewTasks + heads - 1) / heads, Index{1}, strips);
  context.arena().for_each(heads * parts, [&](Index task, int worker) {
    const Index n = task / parts, part = task % parts;
    const Head at = head_at(n);
    const Index begin = part * strips / parts * kStrip;
    const Index end = std::min((part + 1) * strips / parts * kStrip, rows_);
    const Index seen = problem_.visible_key_len(at.batch_entry);
    float* own = panels.data() + worker * kChunk * width();
    float* rows = projected + n * rows_ * width();
    if (seen == 0) std::fill(rows + begin * width(), rows + end * width(), 0.0f);
    // Rows of E times panels of keys or values; the next chunk comes from memory meanwhile.
    for (Index first = 0; first < seen; first += kChunk) {
      const Index count = std::min(kChunk, seen - first);
      const Index next = first + count, coming = std::min(kChunk, seen - next);
      pack(inputs, at, first, count, own);
      kernels::Ahead keys = rows_ahead(inputs.keys, at.batch_entry, at.kv_head, next, 1, coming);
      kernels::Ahead values =
          rows_ahead(inputs.values, at.batch_entry, at.kv_head, next, 1, coming);
      for (Index row = begin; row < end; row += kStrip) {
        // The last panel brings the next strip of E, the others what is to be packed next.
        const bool last = row + kStrip >= end;
        kernels::Ahead strip = strip_ahead(at.head, last ? begin : row + kStrip,
                                           last ? next : first, last ? coming : count);
        for (Index column = 0; column < width(); column += kPanel) {
          kernels::Ahead* inputs_ahead = keys.lines > 0 ? &keys : &values;
          kernels::best().float32.scores(projections_.strip_rows(row), count,
                                         projections_.strip(side_of(column), at.head, row, first),
                                         own, {column, column + kPanel}, rows + row * width(),
                                         width(), first > 0,
                                         column + kPanel < width() ? inputs_ahead : &strip);
        }
      }
    }
  });
}

// A row is the sum of its segment, each key times its tap; or plainly the sum, divided at the end.
void Projector::pool(const Inputs& inputs, float* projected, Context& context) const {
  const auto& kernel = kernels::best();
  const Workspace::Scope scope(context.workspace());
  const std::span<float> rows = context.workspace().take<float>(context.threads() * width());
  context.arena().for_each(problem_.batch * heads_ * rows_, [&](Index task, int worker) {
    const Head at = head_at(task / rows_);
    const auto [begin, end] = projections_.segment(task % rows_);
    const Index seen = std::min(end, problem_.visible_key_len(at.batch_entry));
    float* out = projected + task * width();
    float* loaded = rows.data() + worker * width();
    std::fill_n(out, width(), 0.0f);
    const auto add = [&, begin = begin, end = end](const ConstTensorView& view, Side side,
                                                   float* sum) {
      const bool means = projections_.means();
      const float* taps = means ? nullptr : projections_.taps(side, at.head);
      for (Index j = begin; j < seen; ++j) {
        kernel.to_float(view.dtype, view.row(at.batch_entry, at.kv_head, j), view.dim(), loaded);
        const float tap = means ? 1.0f : taps[j - begin];
        for (Index c = 0; c < view.dim(); ++c) sum[c] += tap * loaded[c];
      }
      if (means && seen > begin) {  // else there is nothing to divide
        kernel.scale(sum, view.dim(), 1.0f / static_cast<float>(end - begin), sum);
      }
    };
    add(inputs.keys, Side::keys, out);
    add(inputs.values, Side::values, out + value_column());
  });
}

}  // namespace longattn
