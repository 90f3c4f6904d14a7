#pragma once

#include <optional>

#include "core/block_schedule.h"
#include "variants/ring/ring_plan.h"

namespace longattn {

/// One step of one rank for the blocked engine: its queries against the keys of one shard, both
/// numbered locally. What is visible is asked of the whole Problem, by tokens, so every mask that
/// the Problem knows means the same in every layout. Allocates nothing.
class RingSchedule final : public BlockSchedule {
 public:
  /// `window` as in RingSettings.
  RingSchedule(const Problem& whole, const Shard& queries, const Shard& keys,
               std::optional<Index> window = {});

  Index num_blocks(Index batch_entry, Index head) const override;
  TokenSet queries(Index batch_entry, Index head, Index block) const override;
  Index max_sources() const override { return 1; }
  Index sources(Index batch_entry, Index head, Index block,
                std::span<KeySource> out) const override;
  void mask(const Tile& tile, TileMask& mask) const override;

  /// The Problem of this step alone, without a mask: lengths are those of the shards.
  static Problem local_problem(const Problem& whole, const Shard& queries, const Shard& keys);

 private:
  struct Block {
    TokenSet local, whole;  // the same queries, numbered both ways
  };
  Block block_at(Index block) const;

  const Problem& whole_;
  const Shard &queries_, &keys_;
  const Index window_;
};

}  // namespace longattn
