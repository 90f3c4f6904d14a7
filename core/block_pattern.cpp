#include "core/block_pattern.h"

#include <algorithm>
#include <cassert>

#include "core/blocked_attention.h"
#include "core/visibility.h"

namespace longattn {

void BlockPattern::add_row(std::vector<Run> runs) {
  std::ranges::sort(runs, {}, &Run::begin);
  const size_t first = runs_.size();
  for (Run run : runs) {
    run = {std::max(run.begin, Index{0}), std::min(run.end, num_blocks_)};
    if (run.begin >= run.end) continue;
    if (runs_.size() > first && run.begin <= runs_.back().end) {
      runs_.back().end = std::max(runs_.back().end, run.end);
    } else {
      runs_.push_back(run);
    }
  }
  ends_.push_back(runs_.size());
  max_runs_ = std::max(max_runs_, static_cast<Index>(runs_.size() - first));
}

std::span<const BlockPattern::Run> BlockPattern::row(Index head, Index block) const {
  const auto n = static_cast<size_t>((heads_alike() ? 0 : head) * num_blocks_ + block);
  assert(n < ends_.size());
  const size_t begin = n == 0 ? 0 : ends_[n - 1];
  return std::span(runs_).subspan(begin, ends_[n] - begin);
}

BlockPatternSchedule::BlockPatternSchedule(const Problem& p, const BlockPattern& pattern)
    : BlockSchedule(std::min(pattern.block_size(), default_query_block()), default_key_block(p)),
      problem_(p),
      pattern_(pattern) {
  for (Index query = 0; query < p.query_len;) {
    Index count = std::min(query_block(), p.query_len - query);
    if (const Index position = p.position(query); position >= 0) {
      count = std::min(count, pattern.block_size() - position % pattern.block_size());
    } else {
      count = std::min(count, -position);
    }
    pieces_.push_back({query, count, 1, nullptr});
    query += count;
  }
}

Index BlockPatternSchedule::sources(Index b, Index head, Index block,
                                    std::span<KeySource> out) const {
  const TokenSet rows = queries(b, head, block);
  const KeyRange visible = visible_range(problem_, b, rows);
  Index count = 0;
  if (visible.begin >= visible.end) return 0;
  const Index size = pattern_.block_size();
  for (const auto& run : pattern_.row(head, pattern_.row_of(problem_.position(rows[0])))) {
    const Index begin = std::max(run.begin * size, visible.begin);
    const Index end = run.end > visible.end / size ? visible.end : run.end * size;
    if (begin >= end) continue;
    const TokenSet keys{begin, end - begin};
    out[static_cast<size_t>(count++)] = {keys, !fully_visible(problem_, b, rows, keys)};
  }
  return count;
}

void BlockPatternSchedule::mask(const Tile& tile, TileMask& mask) const {
  apply_mask(problem_, tile, mask);
}

double BlockPatternSchedule::pairs() const {
  double pairs = 0;
  for (Index b = 0; b < problem_.batch; ++b) {
    if (pattern_.heads_alike()) {
      pairs += static_cast<double>(problem_.num_heads) * pairs_of(b, 0);
    } else {
      for (Index h = 0; h < problem_.num_heads; ++h) pairs += pairs_of(b, h);
    }
  }
  return pairs;
}

double BlockPatternSchedule::pairs_of(Index b, Index head) const {
  const Index size = pattern_.block_size(), visible = problem_.visible_key_len(b);
  if (visible == 0) return 0;
  double pairs = 0;
  for (const TokenSet& rows : pieces_) {
    const Index first = problem_.position(rows[0]);
    for (const auto& run : pattern_.row(head, pattern_.row_of(first))) {
      const Index begin = run.begin * size;
      const Index end = run.end > visible / size ? visible : run.end * size;
      if (begin >= end) continue;
      if (!problem_.mask.causal || end <= first + 1) {
        pairs += static_cast<double>(rows.count) * static_cast<double>(end - begin);
        continue;
      }
      for (Index r = 0; r < rows.count; ++r) {
        pairs += static_cast<double>(std::max<Index>(0, std::min(end, first + r + 1) - begin));
      }
    }
  }
  return pairs;
}

// A run of n keys takes at most (n + 31) / key_block tiles, rounded up: it starts at the panel
// before it, and ends in a short tile.
Index BlockPatternSchedule::more_tiles() const {
  return pattern_.max_runs() + pattern_.max_runs() / 8;
}

Cost BlockPatternAttention::cost(int threads) const {
  return blocked_cost(problem(), schedule_, schedule_.pairs(), threads);
}

Attention::Rounding BlockPatternAttention::rounding() const {
  return blocked_rounding(problem(), schedule_.key_block(), schedule_.more_tiles());
}

void BlockPatternAttention::forward_impl(const Inputs& inputs, const Outputs& outputs,
                                         Context& context) const {
  blocked_attention(problem(), inputs, schedule_, outputs, context);
}

}  // namespace longattn
