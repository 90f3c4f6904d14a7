#include "core/dense_schedule.h"

#include <algorithm>

#include "core/visibility.h"

namespace longattn {

Index DenseSchedule::num_blocks(Index, Index) const {
  return (problem_.query_len + query_block() - 1) / query_block();
}

TokenSet DenseSchedule::queries(Index, Index, Index block) const {
  const Index first = block * query_block();
  return {first, std::min(query_block(), problem_.query_len - first)};
}

Index DenseSchedule::sources(Index batch_entry, Index head, Index block,
                             std::span<KeySource> out) const {
  const TokenSet block_queries = queries(batch_entry, head, block);
  const KeyRange range = visible_range(problem_, batch_entry, block_queries);
  if (range.begin >= range.end) return 0;
  const TokenSet keys{range.begin, range.end - range.begin};
  // Under a causal mask all tiles but the last are full. They stay in one source all the same, so
  // that tiles are whole; asking for their intervals costs next to nothing.
  out[0] = {keys, !fully_visible(problem_, batch_entry, block_queries, keys)};
  return 1;
}

void DenseSchedule::mask(const Tile& tile, TileMask& mask) const {
  apply_mask(problem_, tile, mask);
}

}  // namespace longattn
