#include "core/matmul.h"

#include <algorithm>
#include <cassert>

#include "core/kernels.h"

namespace longattn {
namespace {

using kernels::kPanel;
using kernels::kStrip;

constexpr Index kRowBlock = 8 * kStrip;  // most rows of one task: its strips stay in the L2 cache
constexpr Index kFewTasks = 8;           // with fewer, threads would wait for the last one
constexpr Index kDepthBlock = 256;       // a panel of this depth stays in the L1 cache

Index panels_of(Index columns) { return (columns + kPanel - 1) / kPanel; }

Index row_block(Index rows) {
  return std::clamp(kernels::round_up((rows + kFewTasks - 1) / kFewTasks, kStrip), kStrip,
                    kRowBlock);
}

// One worker's packed strips and one edge tile.
constexpr Index kScratch = kRowBlock * kDepthBlock + kStrip * kPanel;

void pack_strip(const ConstMatrix& a, Index first, Index rows, Index depth_first, Index depth,
                float factor, float* strip) {
  const float* row[kStrip];
  for (Index r = 0; r < rows; ++r) row[r] = a.data + (first + r) * a.stride + depth_first;
  kernels::best().pack_strip(row, rows, depth, factor, strip);
}

// One strip times one panel, through a small buffer where the panel reaches past the last column.
void multiply(const float* strip, Index rows, Index depth, const float* panel, const Matrix& c,
              Index row, Index column, bool accumulate, float* edge) {
  const auto& kernel = kernels::best();
  float* target = c.data + row * c.stride + column;
  const Index columns = std::min(kPanel, c.columns - column);
  if (columns == kPanel) {
    kernel.float32.scores(rows, depth, strip, panel, {0, kPanel}, target, c.stride, accumulate,
                          nullptr);
    return;
  }
  if (accumulate) {
    for (Index r = 0; r < rows; ++r) std::copy_n(target + r * c.stride, columns, edge + r * kPanel);
  }
  kernel.float32.scores(rows, depth, strip, panel, {0, kPanel}, edge, kPanel, accumulate, nullptr);
  for (Index r = 0; r < rows; ++r) std::copy_n(edge + r * kPanel, columns, target + r * c.stride);
}

void multiply_packed(const ConstMatrix& a, std::span<const float> packed, float factor,
                     const Matrix& c, Context& context) {
  const Index depth = a.columns, panels = panels_of(c.columns);
  const std::span<float> scratch = context.workspace().take<float>(context.threads() * kScratch);
  const Index step = row_block(c.rows), blocks = (c.rows + step - 1) / step;
  context.arena().for_each(blocks, [&](Index block, int worker) {
    float* strips = scratch.data() + worker * kScratch;
    float* edge = strips + kRowBlock * kDepthBlock;
    const Index begin = block * step, end = std::min(begin + step, c.rows);
    for (Index k = 0; k < depth; k += kDepthBlock) {
      const Index here = std::min(kDepthBlock, depth - k);
      for (Index r = begin; r < end; r += kStrip) {
        pack_strip(a, r, std::min(kStrip, end - r), k, here, factor, strips + (r - begin) * here);
      }
      for (Index panel = 0; panel < panels; ++panel) {
        const float* right = packed.data() + (panel * depth + k) * kPanel;
        for (Index r = begin; r < end; r += kStrip) {
          multiply(strips + (r - begin) * here, std::min(kStrip, end - r), here, right, c, r,
                   panel * kPanel, k > 0, edge);
        }
      }
    }
  });
}

void fill_zero(const Matrix& c) {
  for (Index r = 0; r < c.rows; ++r) std::fill_n(c.data + r * c.stride, c.columns, 0.0f);
}

}  // namespace

void matmul(const ConstMatrix& a, const ConstMatrix& b, float factor, const Matrix& c,
            Context& context) {
  assert(a.rows == c.rows && a.columns == b.rows && b.columns == c.columns);
  if (a.columns == 0) return fill_zero(c);
  const Workspace::Scope scope(context.workspace());
  const Index panels = panels_of(b.columns);
  const std::span<float> packed = context.workspace().take<float>(panels * kPanel * b.rows);
  context.arena().for_each(panels, [&](Index panel, int) {
    float* out = packed.data() + panel * kPanel * b.rows;
    const Index columns = std::min(kPanel, b.columns - panel * kPanel);
    for (Index k = 0; k < b.rows; ++k, out += kPanel) {
      std::copy_n(b.data + k * b.stride + panel * kPanel, columns, out);
      std::fill(out + columns, out + kPanel, 0.0f);
    }
  });
  multiply_packed(a, packed, factor, c, context);
}

void matmul_transposed(const ConstMatrix& a, const ConstMatrix& b, float factor, const Matrix& c,
                       Context& context) {
  assert(a.rows == c.rows && a.columns == b.columns && b.rows == c.columns);
  if (a.columns == 0) return fill_zero(c);
  const Workspace::Scope scope(context.workspace());
  const Index panels = panels_of(b.rows);
  const std::span<float> packed = context.workspace().take<float>(panels * kPanel * b.columns);
  context.arena().for_each(panels, [&](Index panel, int) {
    const float* rows[kPanel];
    const Index count = std::min(kPanel, b.rows - panel * kPanel);
    for (Index n = 0; n < count; ++n) rows[n] = b.data + (panel * kPanel + n) * b.stride;
    kernels::best().pack_panel(rows, count, b.columns, packed.data() + panel * kPanel * b.columns);
  });
  multiply_packed(a, packed, factor, c, context);
}

Index matmul_workspace_bytes(Index n, Index p, int threads) {
  if (n == 0) return 0;
  return Workspace::bytes_for<float>(panels_of(p) * kPanel * n) +
         Workspace::bytes_for<float>(threads * kScratch);
}

}  // namespace longattn
