#pragma once

#include <cstdint>

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
  /// Whether some value of these keys is infinite or NaN.
  bool has_odd_values(Index batch_entry, Index kv_head, const TokenSet& keys);
  /// From now on tiles are of a kv head for which has_odd_values is known for each panel.
  void knows_odd_values(const std::uint8_t* of_panels) { odd_of_panels_ = of_panels; }

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

  const float* row_words(const void* row, Index slot);
  void attend_strip(Index first, Index rows, const Tile& tile, const float* panels,
                    const Values& values);
  void score(Index first, Index rows, const Tile& tile, const float* panels, ColumnRange range);
  void hide(Index r, ColumnRange range, float* row) const;
  ColumnRange used_columns(Index first, Index last) const;
  bool hides_something(ColumnRange used) const;
  bool may_have_odd_values(const Tile& tile, ColumnRange used) const;
  Values prepare_values(const Tile& tile, ColumnRange used);
  void load_values(const Tile& tile, ColumnRange used);
  void set_apart_odd_values(const Tile& tile, ColumnRange used);
  void add_odd_values(Index first, Index rows, const Tile& tile, ColumnRange range);
  const float* value_row(Index batch_entry, Index kv_head, Index key);
  float probability(Index r, Index column, ColumnRange range) const;

  const BlockedLayout& l_;
  const Problem& p_;
  const Inputs& inputs_;
  BlockedScratch& scratch_;
  const kernels::Kernels& k_;
  const std::uint8_t* odd_of_panels_ = nullptr;
  bool everything_visible_ = false;  // of the tile at hand
  bool odd_values_ = false;          // it hides infinite or NaN values from some queries
};

}  // namespace longattn
