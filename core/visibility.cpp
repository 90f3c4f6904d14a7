#include "core/visibility.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace longattn {
namespace {

// Moves both ends of the range inwards over keys whose document no query of the block is in. With
// more documents in one block than fit here there is little to trim.
void trim_to_documents(const Problem& p, Index batch_entry, const TokenSet& queries,
                       KeyRange& range) {
  std::array<Index, 16> ids;
  size_t count = 0;
  for (Index n = 0; n < queries.count; ++n) {
    const Index id = p.document(batch_entry, p.position(queries[n]));
    if (std::find(ids.begin(), ids.begin() + count, id) != ids.begin() + count) continue;
    if (count == ids.size()) return;
    ids[count++] = id;
  }
  auto wanted = [&](Index key) {
    return std::find(ids.begin(), ids.begin() + count, p.document(batch_entry, key)) !=
           ids.begin() + count;
  };
  while (range.begin < range.end && !wanted(range.begin)) ++range.begin;
  while (range.end > range.begin && !wanted(range.end - 1)) --range.end;
}

}  // namespace

KeyRange visible_range(const Problem& p, Index batch_entry, const TokenSet& queries) {
  if (queries.count == 0) return {};
  KeyRange range{0, p.visible_end(batch_entry, queries[queries.count - 1])};
  if (!p.mask.document_ids.empty()) trim_to_documents(p, batch_entry, queries, range);
  return range;
}

bool fully_visible(const Problem& p, Index batch_entry, const TokenSet& queries,
                   const TokenSet& keys) {
  if (queries.count == 0 || keys.count == 0) return true;
  if (!p.mask.alibi_slopes.empty() || !p.mask.document_ids.empty()) return false;
  const Index last_key = keys[keys.count - 1];
  if (last_key >= p.visible_key_len(batch_entry)) return false;
  return !p.mask.causal || last_key <= p.position(queries[0]);
}

double sum_over_queries(const Problem& p,
                        const std::function<Index(Index position, Index end)>& pairs_of_row) {
  double pairs = 0;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index i = 0; i < p.query_len; ++i) {
      pairs += static_cast<double>(pairs_of_row(p.position(i), p.visible_end(b, i)));
    }
  }
  return pairs;
}

double visible_pairs(const Problem& p) {
  const auto heads = static_cast<double>(p.num_heads);
  if (p.mask.document_ids.empty()) {
    return heads * sum_over_queries(p, [](Index, Index end) { return end; });
  }
  double pairs = 0;
  for (Index b = 0; b < p.batch; ++b) {
    const Index end = p.visible_key_len(b);
    std::unordered_map<Index, Index> size;  // of each document, over the keys passed so far
    Index passed = 0;
    const auto pass_to = [&](Index bound) {
      for (; passed < bound; ++passed) ++size[p.document(b, passed)];
    };
    if (!p.mask.causal) pass_to(end);
    for (Index i = 0; i < p.query_len; ++i) {
      if (p.mask.causal) pass_to(std::min(p.position(i) + 1, end));
      pairs += static_cast<double>(size[p.document(b, p.position(i))]);
    }
  }
  return pairs * heads;
}

void apply_mask(const Problem& p, const Tile& tile, TileMask& mask) {
  Index end = 0;
  for (Index r = 0; r < mask.rows; ++r) {
    if (r == 0 || p.mask.causal) {  // otherwise all rows end alike
      end = tile.keys.count_below(p.visible_end(tile.batch_entry, tile.queries[r]));
    }
    mask.clip(r, 0, end);
  }
  if (!p.mask.document_ids.empty()) {
    for (Index r = 0; r < mask.rows; ++r) {
      const Index id = p.document(tile.batch_entry, p.position(tile.queries[r]));
      for (Index c = mask.begin[r]; c < mask.end[r]; ++c) {
        if (p.document(tile.batch_entry, tile.keys[c]) != id) mask.hide(r, c);
      }
    }
  }
  if (!p.mask.alibi_slopes.empty()) {
    mask.use_bias();
    for (Index r = 0; r < mask.rows; ++r) {
      for (Index c = mask.begin[r]; c < mask.end[r]; ++c) {
        mask.bias[r * mask.columns + c] =
            static_cast<float>(p.bias(tile.head, tile.queries[r], tile.keys[c]));
      }
    }
  }
}

}  // namespace longattn
