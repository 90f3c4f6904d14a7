#pragma once

#include "core/block_schedule.h"

namespace longattn {

/// Every query sees every key that the Problem's mask shows: blocks of consecutive queries, one
/// contiguous source each, ending where the mask ends.
class DenseSchedule : public BlockSchedule {
 public:
  DenseSchedule(const Problem& problem, Index query_block, Index key_block)
      : BlockSchedule(query_block, key_block), problem_(problem) {}

  Index num_blocks(Index batch_entry, Index head) const override;
  TokenSet queries(Index batch_entry, Index head, Index block) const override;
  Index max_sources() const override { return 1; }
  Index sources(Index batch_entry, Index head, Index block,
                std::span<KeySource> out) const override;
  void mask(const Tile& tile, TileMask& mask) const override;

 private:
  const Problem& problem_;  // of the plan that owns this schedule
};

}  // namespace longattn
