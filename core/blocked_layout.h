#pragma once

#include <cstdint>
#include <span>

#include "core/block_schedule.h"
#include "core/tensor.h"
#include "core/types.h"
#include "core/workspace.h"

// Inside of the blocked engine: sizes and scratch buffers of one pass.
namespace longattn {

/// Sizes of one pass, derived from the Problem and the schedule alone.
struct BlockedLayout {
  BlockedLayout(const Problem& problem, const BlockSchedule& schedule);

  Index packed_keys() const;  ///< floats in the packed copy of the keys
  /// Values are read in place where rows are contiguous float32 of whole vectors.
  bool copies_values(const ConstTensorView& values) const;

  const Problem& p;
  const BlockSchedule& schedule;
  Index rows;           ///< most queries in a block
  Index columns;        ///< most keys in a tile, whole panels
  Index value_columns;  ///< value_dim, padded
  Index blocks = 0;     ///< query blocks, over all heads and batch entries
  Index parts = 1;      ///< into which the keys of a block are split, where blocks are few
  Index panels = 0;     ///< of packed keys per head; 0: none are shared
};

/// One query block of one head.
struct BlockedTask {
  Index batch_entry, head, block;
  double cost;  ///< (query, key) pairs of its sources
};

/// Buffers of one worker.
struct BlockedScratch {
  BlockedScratch(const BlockedLayout& layout, Workspace& workspace);
  static Index bytes(const BlockedLayout& layout);  ///< that the constructor takes

  std::span<float> queries;       ///< strips
  std::span<float> scores;        ///< [rows, columns]
  std::span<float> accumulator;   ///< [rows, value_columns]
  std::span<float> maximum, sum;  ///< [rows]
  std::span<float> keys;          ///< panels of a gathered tile
  std::span<float> values;        ///< [columns, value_columns] of a gathered or converted tile
  std::span<float> convert;       ///< [kPanel, head_dim] of keys before packing
  std::span<KeySource> sources;
  TileMask mask;
};

}  // namespace longattn
