#pragma once

#include "core/attention.h"
#include "core/blocked_layout.h"

// Inside of the blocked engine: the arithmetic of one tile.
namespace longattn {

/// What one worker does to a tile: scores, softmax, values, strip by strip of its queries, so that
/// the scores of a strip never leave the L1 cache.
class BlockedTile {
 public:
  using ColumnRange = kernels::ColumnRange;

  BlockedTile(const BlockedLayout& layout, const Inputs& inputs, BlockedScratch& scratch)
      : l_(layout), p_(layout.p), inputs_(inputs), scratch_(scratch), k_(kernels::best()) {}

  /// Packs up to kPanel keys of one kv head.
  void pack_keys(Index batch_entry, Index kv_head, const TokenSet& keys, float* panel);
  /// Packs a block's queries; all tiles until the next call are theirs.
  void pack_queries(Index batch_entry, Index head, const TokenSet& queries);
  /// Adds a tile to the running softmax of the block. Columns outside [first, last) do not belong
  /// to the source; unless `partial`, every query sees all of those. `panels`: the tile's packed
  /// keys, or nullptr where they are still to be gathered.
  void attend(const Tile& tile, ColumnRange source, bool partial, const float* panels);

 private:
  // Words of the values of a tile, row by row: row w is column w, or a pair of columns.
  struct Values {
    const float* words;
    Index stride;
  };

  const void* key_words(Index batch_entry, Index kv_head, Index key, Index slot);
  void attend_strip(Index first, Index rows, const Tile& tile, const float* panels,
                    const Values& values);
  void score(Index first, Index rows, const Tile& tile, const float* panels, ColumnRange range);
  void hide(Index r, ColumnRange range, float* row) const;
  ColumnRange used_columns(Index first, Index last) const;
  bool hides_something(ColumnRange used) const;
  Values prepare_values(const Tile& tile, ColumnRange used);
  void load_values(const Tile& tile, ColumnRange used);
  void set_apart_odd_values(const Tile& tile, ColumnRange used);
  void add_odd_values(Index first, Index rows, const Tile& tile, ColumnRange range);
  const float* value_row(const Tile& tile, Index column);
  float probability(Index r, Index column, ColumnRange range) const;

  const BlockedLayout& l_;
  const Problem& p_;
  const Inputs& inputs_;
  BlockedScratch& scratch_;
  const kernels::Kernels& k_;
  bool everything_visible_ = false;  // of the tile at hand
  bool odd_values_ = false;          // it hides infinite or NaN values from some queries
};

}  // namespace longattn
