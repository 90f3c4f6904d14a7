#pragma once

#include <algorithm>
#include <span>

#include "core/blocked_layout.h"

// Inside of the blocked engine: what is done in which order.
namespace longattn {

/// Fills `tasks`, layout.tasks() of them, in the order in which they are handed out.
///
/// Kv head by kv head, because its keys and values then stay in the shared cache; in each the query
/// blocks with most keys first, so that at the end no thread is left with a long one alone. Keys
/// are packed right before the first block that reads them, so that they are still in a near cache.
void list_tasks(const BlockedLayout& layout, std::span<KeySource> sources,
                std::span<BlockedTask> tasks);

/// Calls use(n) for each chunk n of packed keys that holds one of `keys`; a list may repeat chunks.
template <class Use>
void for_chunks(const TokenSet& keys, Use use) {
  constexpr Index kKeys = BlockedLayout::kChunk * kernels::kPanel;
  if (keys.count == 0) return;
  if (keys.list == nullptr && keys.stride <= kKeys) {
    for (Index n = keys[0] / kKeys; n <= keys[keys.count - 1] / kKeys; ++n) use(n);
    return;
  }
  for (Index k = 0; k < keys.count; ++k) use(keys[k] / kKeys);
}

}  // namespace longattn
