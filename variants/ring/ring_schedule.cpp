#include "variants/ring/ring_schedule.h"

#include <algorithm>

#include "core/blocked_attention.h"
#include "core/visibility.h"

namespace longattn {

RingSchedule::RingSchedule(const Problem& whole, const Shard& queries, const Shard& keys,
                           std::optional<Index> window)
    : BlockSchedule(default_query_block(), default_key_block(whole)),
      whole_(whole),
      queries_(queries),
      keys_(keys),
      // No two tokens are further apart than this.
      window_(window ? std::min(*window, whole.key_len + whole.query_len)
                     : whole.key_len + whole.query_len) {}

Problem RingSchedule::local_problem(const Problem& whole, const Shard& queries, const Shard& keys) {
  Problem local;
  local.batch = whole.batch;
  local.num_heads = whole.num_heads;
  local.num_kv_heads = whole.num_kv_heads;
  local.query_len = queries.size();
  local.key_len = keys.size();
  local.head_dim = whole.head_dim;
  local.value_dim = whole.value_dim;
  local.dtype = whole.dtype;
  local.scale = whole.effective_scale();
  return local;
}

Index RingSchedule::num_blocks(Index, Index) const {
  Index blocks = 0;
  for (const TokenSet& segment : queries_.segments()) {
    blocks += (segment.count + query_block() - 1) / query_block();
  }
  return blocks;
}

// Blocks end where segments end, so that the tokens of a block are close together.
RingSchedule::Block RingSchedule::block_at(Index block) const {
  Index first = 0;
  for (const TokenSet& segment : queries_.segments()) {
    const Index blocks = (segment.count + query_block() - 1) / query_block();
    if (block < blocks) {
      const Index begin = block * query_block();
      const Index count = std::min(query_block(), segment.count - begin);
      return {{first + begin, count}, segment.slice(begin, count)};
    }
    block -= blocks;
    first += segment.count;
  }
  return {};
}

TokenSet RingSchedule::queries(Index, Index, Index block) const { return block_at(block).local; }

Index RingSchedule::sources(Index b, Index, Index block, std::span<KeySource> out) const {
  const Block rows = block_at(block);
  const KeyRange range = visible_range(whole_, b, rows.whole);
  const Index first = whole_.position(rows.whole[0]),
              latest = whole_.position(rows.whole[rows.whole.count - 1]);
  const Index begin = keys_.count_below(std::max(range.begin, first - window_)),
              end = keys_.count_below(std::min(range.end, latest + window_ + 1));
  if (begin >= end) return 0;
  const TokenSet last{keys_[end - 1], 1};  // visible to all, then so are those before
  const bool within = keys_[begin] >= latest - window_ && keys_[end - 1] <= first + window_;
  out[0] = {{begin, end - begin}, !within || !fully_visible(whole_, b, rows.whole, last)};
  return 1;
}

void RingSchedule::mask(const Tile& tile, TileMask& mask) const {
  const Index first = tile.keys.begin, padded_end = whole_.visible_key_len(tile.batch_entry);
  for (Index r = 0; r < mask.rows; ++r) {
    const Index query = queries_[tile.queries[r]], position = whole_.position(query);
    Index end = padded_end;
    if (whole_.mask.causal) end = std::min(end, position + 1);
    end = std::min(end, position + window_ + 1);
    mask.clip(r, keys_.count_below(position - window_) - first, keys_.count_below(end) - first);
    if (!whole_.mask.document_ids.empty()) {
      const Index id = whole_.document(tile.batch_entry, position);
      for (Index c = mask.begin[r]; c < mask.end[r]; ++c) {
        if (whole_.document(tile.batch_entry, keys_[first + c]) != id) mask.hide(r, c);
      }
    }
    if (!whole_.mask.alibi_slopes.empty()) {
      mask.use_bias();
      for (Index c = mask.begin[r]; c < mask.end[r]; ++c) {
        mask.bias[r * mask.columns + c] =
            static_cast<float>(whole_.bias(tile.head, query, keys_[first + c]));
      }
    }
  }
}

}  // namespace longattn
