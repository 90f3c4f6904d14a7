#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "core/block_schedule.h"
#include "core/kernels.h"
#include "core/tensor.h"
#include "core/types.h"
#include "core/workspace.h"

// Inside of the blocked engine: sizes and scratch buffers of one pass.
namespace longattn {

/// Sizes of one pass, derived from the Problem and the schedule alone.
struct BlockedLayout {
  BlockedLayout(const Problem& problem, const BlockSchedule& schedule);

  static constexpr Index kChunk = 3;   ///< panels packed in one task
  static constexpr Index kCopies = 2;  ///< kv heads whose keys are packed at a time
  static constexpr Index kPieces = 8;  ///< most tiles side by side in a row of scores

  Index kv_heads() const { return p.batch * p.num_kv_heads; }
  Index chunks() const { return (panels + kChunk - 1) / kChunk; }  ///< of packed keys per head
  Index tasks() const { return blocks * parts + kv_heads() * chunks(); }
  Index packed_words() const { return panels * kernels::kPanel * depth; }  ///< of one kv head
  Index copies() const { return std::min(kCopies, kv_heads()); }
  /// Values are read in place where rows are contiguous float32 of whole vectors.
  bool copies_values() const { return p.dtype != DType::float32 || p.value_dim != value_columns; }

  const Problem& p;
  const BlockSchedule& schedule;
  const kernels::TileKernels& tiles;  ///< pairs of bfloat16 where that is the storage, else float32
  Index rows;                         ///< most queries in a block
  Index columns;                      ///< most keys in tiles side by side, whole panels
  Index score_stride;                 ///< from one row of scores to the next
  bool few_rows;                      ///< keys are read in place, not packed
  Index depth;                        ///< words of a query or a key
  Index query_words;                  ///< of a query in scratch: depth, or padded with few rows
  Index value_columns;                ///< value_dim, padded
  Index blocks = 0;                   ///< query blocks, over all heads and batch entries
  Index parts = 1;   ///< into which the keys of a block are split, where blocks are few
  Index panels = 0;  ///< of packed keys per head; 0: none are shared
};

/// A piece of work: one part of one query block of one head, or packing some keys of a kv head.
struct BlockedTask {
  static constexpr Index kPacking = -1;
  Index batch_entry, head, block;
  Index part;    ///< of the block's keys; kPacking: `block` is a chunk of the kv head `head`
  Index slot;    ///< number of the block among all
  double order;  ///< tasks run by rising order; kNever: nobody reads what it would pack
  static constexpr double kNever = std::numeric_limits<double>::infinity();
};

/// Buffers of one worker. Words are in float storage.
struct BlockedScratch {
  BlockedScratch(const BlockedLayout& layout, Workspace& workspace);
  static Index bytes(const BlockedLayout& layout);  ///< that the constructor takes

  std::span<float> queries;       ///< strips of words
  std::span<float> scores;        ///< [kTallStrip, score_stride]; then words of probabilities
  std::span<float> accumulator;   ///< [rows, value_columns]
  std::span<float> maximum, sum;  ///< [rows]
  std::span<float> keys;          ///< panels of gathered tiles
  std::span<float> values;        ///< words [columns, value_columns] of copied tiles
  std::span<float> convert;       ///< [kPanel, head_dim or value_dim], storage on its way to words
  std::span<KeySource> sources;
  std::span<Index> begins, ends;  ///< of the masks of up to kPieces tiles
  std::span<std::uint64_t> bits;
  std::span<float> bias;
};

}  // namespace longattn
