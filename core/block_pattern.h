#pragma once

#include <span>
#include <vector>

#include "core/attention.h"
#include "core/block_schedule.h"

namespace longattn {

/// Which blocks of keys the queries of each block see: the pattern of block-sparse variants, as
/// runs of neighbouring blocks.
///
/// Block n holds the tokens [n * block_size, (n + 1) * block_size) below key_len; the last one may
/// be short. A query belongs to the block of its position (bottom-right aligned: i + key_len -
/// query_len), so one pattern serves a whole sequence and any suffix of its queries; a query before
/// the first token counts to block 0. Lengths and blocks are in tokens.
class BlockPattern {
 public:
  /// Blocks [begin, end).
  struct Run {
    Index begin, end;
  };

  BlockPattern(const Problem& problem, Index block_size)
      : block_size_(block_size), num_blocks_(count_blocks(problem.key_len, block_size)) {}
  static Index count_blocks(Index len, Index block_size) {
    return len / block_size + (len % block_size != 0 ? 1 : 0);
  }

  /// Adds the next row: blocks 0, 1, .. of head 0, then of head 1, .. Runs come in any order and
  /// may overlap; what lies beyond the blocks is cut off. All heads get rows, or only head 0, and
  /// then the others are like it.
  void add_row(std::vector<Run> runs);

  Index block_size() const { return block_size_; }
  Index num_blocks() const { return num_blocks_; }
  Index row_of(Index position) const {
    return position < 0 ? 0 : std::min(position / block_size_, num_blocks_ - 1);
  }
  /// Ascending, disjoint and not adjacent.
  std::span<const Run> row(Index head, Index block) const;
  Index max_runs() const { return max_runs_; }
  bool heads_alike() const { return static_cast<Index>(ends_.size()) <= num_blocks_; }

 private:
  Index block_size_, num_blocks_;
  Index max_runs_ = 0;
  std::vector<Run> runs_;     // of all rows
  std::vector<size_t> ends_;  // of each row, among them
};

/// A pattern for the blocked engine: the queries of one block against its runs, each run one
/// contiguous source, ending where the Problem's mask ends. Only causal edges, padding, documents
/// and ALiBi make a source partial.
class BlockPatternSchedule final : public BlockSchedule {
 public:
  BlockPatternSchedule(const Problem& problem, const BlockPattern& pattern);

  Index num_blocks(Index, Index) const override { return static_cast<Index>(pieces_.size()); }
  TokenSet queries(Index, Index, Index block) const override {
    return pieces_[static_cast<size_t>(block)];
  }
  Index max_sources() const override { return pattern_.max_runs(); }
  Index sources(Index batch_entry, Index head, Index block,
                std::span<KeySource> out) const override;
  void mask(const Tile& tile, TileMask& mask) const override;

  /// Pairs that the pattern and the mask show, documents apart: those only ever leave fewer.
  double pairs() const;
  /// How many more tiles a row is summed in than one source of all keys has, at most.
  Index more_tiles() const;

 private:
  double pairs_of(Index batch_entry, Index head) const;

  const Problem& problem_;  // of the plan that owns this schedule
  const BlockPattern& pattern_;
  std::vector<TokenSet> pieces_;  // queries of one block, cut to query_block
};

/// A plan whose forward pass follows a BlockPattern. A variant adds its definition, which reads the
/// formula and not the pattern.
///
/// Time 4 head_dim FLOP a pair (with value_dim = head_dim); workspace as blocked_workspace_bytes.
class BlockPatternAttention : public Attention {
 public:
  BlockPatternAttention(const Problem& problem, BlockPattern pattern)
      : Attention(problem), pattern_(std::move(pattern)), schedule_(this->problem(), pattern_) {}

  const BlockPattern& pattern() const { return pattern_; }
  Cost cost(int threads) const override;
  Rounding rounding() const override;

 private:
  void forward_impl(const Inputs& inputs, const Outputs& outputs, Context& context) const override;

  const BlockPattern pattern_;
  const BlockPatternSchedule schedule_;
};

}  // namespace longattn
