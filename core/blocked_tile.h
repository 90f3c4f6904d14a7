#pragma once

#include <array>
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

  /// Rows that work after this will read: the scores computed from now on fetch them, in the order
  /// given. Lists, and more sets than fit, are left out.
  void fetch_later(const ConstTensorView& view, Index batch_entry, Index head,
                   const TokenSet& tokens);

  /// Packs a block's queries, in strips of `strip` rows (kStrip or kTallStrip); all tiles until the
  /// next call are theirs.
  void pack_queries(Index batch_entry, Index head, const TokenSet& queries, Index strip);
  /// Adds a tile to the running softmax of the block, with those after it while they fit side by
  /// side in a row of scores; finish() must follow the last. Columns outside [first, last) do not
  /// belong to the source; unless `partial`, every query sees all of those. `panels`: the tile's
  /// packed keys, or nullptr where they are still to be gathered.
  void attend(const Tile& tile, ColumnRange source, bool partial, const float* panels);
  void finish();

 private:
  // Words of the values of a tile, row by row: row w is column w, or a pair of columns.
  struct Values {
    const float* words;
    Index stride;
  };
  // One of the tiles side by side.
  struct Piece {
    Tile tile;
    TileMask mask;
    const float* panels;
    float* copied_values;  // room for them
    Values values;
    bool everything_visible;
    bool odd_values;  // it hides infinite or NaN values from some queries
    // Of the strip at hand: columns that some row uses; those computed; their place among the
    // scores.
    ColumnRange used, range;
    Index at;
  };

  std::span<Piece> pieces() { return std::span(pieces_).first(size_); }
  const float* row_words(const void* row, Index slot);
  TileMask empty_mask(const Tile& tile);
  void attend_strip(Index first, Index rows);
  void score(Index first, Index rows, const Piece& piece);
  void hide(Index first, Index rows, const Piece& piece);
  void accumulate(Index first, Index rows, const Piece& piece);
  Values prepare_values(const Piece& piece, ColumnRange used);
  bool may_have_odd_values(const Tile& tile, ColumnRange used) const;
  void load_values(const Piece& piece, ColumnRange used);
  void set_apart_odd_values(const Piece& piece, ColumnRange used);
  void add_odd_values(Index first, Index rows, const Piece& piece);
  const float* value_row(Index batch_entry, Index kv_head, Index key);
  float probability(Index r, Index column, const Piece& piece) const;

  const BlockedLayout& l_;
  const Problem& p_;
  const Inputs& inputs_;
  BlockedScratch& scratch_;
  const kernels::Kernels& k_;
  std::array<kernels::Ahead, 8> ahead_;
  size_t ahead_size_ = 0, ahead_now_ = 0;
  const std::uint8_t* odd_of_panels_ = nullptr;
  Index strip_ = kernels::kStrip;  // rows
  std::array<Piece, BlockedLayout::kPieces> pieces_;
  size_t size_ = 0;   // of pieces_
  Index filled_ = 0;  // columns, whole panels, of scratch buffers
};

}  // namespace longattn
