#pragma once

#include <functional>

#include "core/block_schedule.h"
#include "core/types.h"

namespace longattn {

/// Keys [begin, end) outside which the Problem's mask shows nothing to any of `queries`.
struct KeyRange {
  Index begin = 0, end = 0;
};
KeyRange visible_range(const Problem& problem, Index batch_entry, const TokenSet& queries);

/// Whether the Problem's mask shows every key to every query and adds no bias.
bool fully_visible(const Problem& problem, Index batch_entry, const TokenSet& queries,
                   const TokenSet& keys);

/// Sum over the queries of all batch entries, for one head, of what `pairs_of_row` makes of a
/// query's position and its Problem::visible_end: how a pattern counts its pairs. Documents are not
/// looked at; they only ever leave fewer.
double sum_over_queries(const Problem& problem,
                        const std::function<Index(Index position, Index end)>& pairs_of_row);

/// Number of (query, key) pairs that the Problem's mask shows, over all heads and batch entries.
/// O(batch * (query_len + key_len)).
double visible_pairs(const Problem& problem);

/// Applies the Problem's mask (causal, padding, documents, ALiBi) to a tile. Schedules call it from
/// mask() and then narrow the result by their own pattern.
void apply_mask(const Problem& problem, const Tile& tile, TileMask& mask);

}  // namespace longattn
