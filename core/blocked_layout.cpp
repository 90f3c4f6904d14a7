#include "core/blocked_layout.h"

#include <algorithm>
#include <atomic>
#include <type_traits>

#include "core/blocked_attention.h"
#include "core/kernels.h"

namespace longattn {
namespace {

using kernels::kPanel;
using kernels::kRowPad;
using kernels::kTallStrip;
using kernels::round_up;

constexpr Index kFewBlocks = 32;       // with fewer query blocks than this, keys are split
constexpr Index kSmallestPart = 2048;  // keys in one part

}  // namespace

static_assert(std::is_trivially_destructible_v<BlockedScratch>, "it lives in a Workspace");

BlockedLayout::BlockedLayout(const Problem& problem, const BlockSchedule& s)
    : p(problem),
      schedule(s),
      tiles(p.dtype == DType::bfloat16 ? kernels::best().bfloat16 : kernels::best().float32),
      rows(std::min(s.query_block(), std::max<Index>(p.query_len, 1))),
      // A contiguous source starts at any key, its first tile at the panel before.
      columns(round_up(std::min(s.key_block(), std::max<Index>(p.key_len, 1)) + kPanel, kPanel)),
      score_stride(std::max(columns, kernels::kScoreStride)),
      few_rows(rows <= kernels::kFewRows && p.dtype == DType::float32),
      depth((p.head_dim + tiles.pair - 1) / tiles.pair),
      query_words(few_rows ? round_up(depth, kRowPad) : depth),
      value_columns(round_up(p.value_dim, tiles.pair == 1 ? kRowPad : kernels::kHalfPanel)) {
  for (Index b = 0; b < p.batch; ++b) {
    for (Index h = 0; h < p.num_heads; ++h) blocks += s.num_blocks(b, h);
  }
  if (blocks < kFewBlocks && blocks > 0) {
    parts = std::clamp(p.key_len / kSmallestPart, Index{1}, kFewBlocks / blocks);
  }
  panels = s.shares_packed_keys() && !few_rows ? (p.key_len + kPanel - 1) / kPanel : 0;
}

namespace {
constexpr Index kPieces = BlockedLayout::kPieces;

Index convert_words(const BlockedLayout& l) {
  return kPanel * std::max(l.p.head_dim, l.p.value_dim);
}
// Of a row in all masks: each begins with a word of its own.
Index mask_words(const BlockedLayout& l) { return TileMask::words(l.columns) + kPieces; }
}  // namespace

BlockedScratch::BlockedScratch(const BlockedLayout& l, Workspace& w)
    : queries(w.take<float>(l.rows * l.query_words)),
      scores(w.take<float>(kTallStrip * l.score_stride)),
      accumulator(w.take<float>(l.rows * l.value_columns)),
      maximum(w.take<float>(l.rows)),
      sum(w.take<float>(l.rows)),
      keys(w.take<float>(l.columns * l.depth)),
      values(w.take<float>(l.columns * l.value_columns)),
      convert(w.take<float>(convert_words(l))),
      sources(w.take<KeySource>(l.schedule.max_sources())),
      begins(w.take<Index>(kPieces * l.rows)),
      ends(w.take<Index>(kPieces * l.rows)),
      bits(w.take<std::uint64_t>(l.rows * mask_words(l))),
      bias(w.take<float>(l.rows * l.columns)) {}

Index BlockedScratch::bytes(const BlockedLayout& l) {
  return Workspace::bytes_for<float>(l.rows * l.query_words) +
         Workspace::bytes_for<float>(kTallStrip * l.score_stride) +
         Workspace::bytes_for<float>(l.rows * l.value_columns) +
         2 * Workspace::bytes_for<float>(l.rows) +
         Workspace::bytes_for<float>(l.columns * l.depth) +
         Workspace::bytes_for<float>(l.columns * l.value_columns) +
         Workspace::bytes_for<float>(convert_words(l)) +
         Workspace::bytes_for<KeySource>(l.schedule.max_sources()) +
         2 * Workspace::bytes_for<Index>(kPieces * l.rows) +
         Workspace::bytes_for<std::uint64_t>(l.rows * mask_words(l)) +
         Workspace::bytes_for<float>(l.rows * l.columns);
}

Index blocked_workspace_bytes(const Problem& problem, const BlockSchedule& schedule, int threads) {
  const BlockedLayout layout(problem, schedule);
  if (layout.blocks == 0) return 0;
  Index bytes = Workspace::bytes_for<BlockedTask>(layout.tasks()) +
                Workspace::bytes_for<float>(layout.copies() * layout.packed_words()) +
                Workspace::bytes_for<std::uint8_t>(layout.kv_heads() * layout.panels) +
                Workspace::bytes_for<std::atomic<Index>>(layout.kv_heads() * layout.chunks()) +
                Workspace::bytes_for<std::atomic<Index>>(layout.kv_heads()) +
                Workspace::bytes_for<BlockedScratch>(threads) +
                threads * BlockedScratch::bytes(layout);
  if (layout.parts > 1) {
    const Index count = layout.blocks * layout.parts * layout.rows;
    bytes += Workspace::bytes_for<float>(count * layout.value_columns) +
             2 * Workspace::bytes_for<float>(count);
  }
  return bytes;
}

Index blocked_workspace_bytes(const Problem& p, std::span<const BlockSchedule* const> passes,
                              int threads) {
  Index bytes = 0;
  for (const BlockSchedule* schedule : passes) {
    bytes = std::max(bytes, blocked_workspace_bytes(p, *schedule, threads));
  }
  const Index rows = passes.size() > 1 ? p.batch * p.num_heads * p.query_len : 0;
  return bytes + 2 * Workspace::bytes_for<float>(rows);
}

Cost blocked_cost(const Problem& p, const BlockSchedule& schedule, double scored_pairs,
                  int threads) {
  Cost cost;
  cost.scored_pairs = scored_pairs;
  cost.flops = 2.0 * scored_pairs * static_cast<double>(p.head_dim + p.value_dim);
  cost.workspace_bytes = static_cast<double>(blocked_workspace_bytes(p, schedule, threads));
  cost.bytes_moved = least_traffic(p);
  return cost;
}

Index default_query_block() { return 96; }

Index default_key_block(const Problem& problem) {
  return problem.head_dim + problem.value_dim > 256 ? 256 : 384;
}

Attention::Rounding blocked_rounding(const Problem& p, Index key_block, Index more_tiles) {
  const Index step = round_up(std::min(key_block, std::max<Index>(p.key_len, 1)), kPanel);
  const Index tiles = (p.key_len + step - 1) / step + 1 + more_tiles;
  Attention::Rounding rounding;
  // A score: head_dim products and sums, the scaled query, log2 e, the bias, the difference to the
  // maximum, the argument reduction of exp2.
  rounding.score_roundings = static_cast<double>(p.head_dim) + 6;
  // Inside a tile at most `step` additions, then one a tile; each tile may rescale (its factor
  // carries 4 roundings' worth of exp2 error and one product), and each weight carries
  // exp2's 2.5e-7.
  rounding.sum_roundings =
      static_cast<double>(std::min(p.key_len, step + tiles)) + 6 * static_cast<double>(tiles) + 8;
  if (p.dtype == DType::bfloat16) rounding.probability_rounding = 0x1p-9;
  return rounding;
}

}  // namespace longattn
