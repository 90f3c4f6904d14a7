#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/types.h"

namespace longattn {

/// An ordered set of tokens: begin, begin + stride, ... (count of them), or an explicit list.
struct TokenSet {
  Index begin = 0, count = 0, stride = 1;
  /// If given: `count` tokens, owned by the schedule; ascending wherever count_below or
  /// core/visibility is asked.
  const Index* list = nullptr;

  Index operator[](Index n) const { return list != nullptr ? list[n] : begin + n * stride; }
  bool contiguous() const { return list == nullptr && stride == 1; }
  /// Number of tokens that are < bound. O(log count) for a list.
  Index count_below(Index bound) const {
    if (list != nullptr) return std::lower_bound(list, list + count, bound) - list;
    if (bound <= begin) return 0;
    return std::min(count, stride == 1 ? bound - begin : (bound - begin + stride - 1) / stride);
  }
  TokenSet slice(Index first, Index size) const;
};

/// Keys that a query block reads. `partial`: some query may not see some of them, or a bias
/// applies, so that mask() is asked; otherwise every query of the block sees every key.
struct KeySource {
  TokenSet keys;
  bool partial = true;
};

/// Which keys of a tile each of its queries sees, filled by BlockSchedule::mask. At first every
/// query sees every key. Columns count from the tile's first key.
class TileMask {
 public:
  static Index words(Index columns) { return (columns + 63) / 64; }

  std::span<Index> begin, end;    ///< row r sees at most columns [begin[r], end[r])
  std::span<std::uint64_t> bits;  ///< row-major [rows, words(columns)]; see use_bits
  std::span<float> bias;          ///< row-major [rows, columns]; see use_bias
  Index rows = 0, columns = 0;
  bool uses_bits = false, uses_bias = false;

  /// Narrows row r to [first, last).
  void clip(Index r, Index first, Index last) {
    if (first > begin[r]) begin[r] = first;
    if (last < end[r]) end[r] = last;
  }
  /// Hides one column: by the interval if it is one of its ends, else by a bit.
  void hide(Index r, Index column) {
    if (column < begin[r] || column >= end[r]) return;
    if (column == begin[r]) return clip(r, column + 1, end[r]);
    if (column == end[r] - 1) return clip(r, begin[r], column);
    use_bits();
    bits[r * words(columns) + column / 64] &= ~(std::uint64_t{1} << (column % 64));
  }
  bool sees(Index r, Index column) const {
    if (column < begin[r] || column >= end[r]) return false;
    return !uses_bits || (bits[r * words(columns) + column / 64] >> (column % 64) & 1) != 0;
  }
  void use_bits();  ///< from now on bits count; all set at first
  void use_bias();  ///< from now on bias counts; all zero at first
  void reset(Index new_rows, Index new_columns);
};

/// One tile: some queries against some keys of one (batch entry, head).
struct Tile {
  Index batch_entry = 0, head = 0;
  TokenSet queries, keys;
  Index source = 0;  ///< number of the source that the keys are of, among those of the block
};

/// What the blocked engine computes: query blocks, and for each the keys that it reads, as data. A
/// pattern is a few lines here; it never touches a float of the tensors.
///
/// A query that stands in no block keeps whatever the output held; a query in a block whose sources
/// show it nothing gets zeros. No query may stand in two blocks, and no (query, key) pair in two
/// sources. Schedules are immutable and shared between threads.
class BlockSchedule {
 public:
  BlockSchedule(Index query_block, Index key_block)
      : query_block_(query_block), key_block_(key_block) {}
  virtual ~BlockSchedule() = default;

  Index query_block() const { return query_block_; }  ///< most queries in one block
  Index key_block() const { return key_block_; }      ///< keys per tile

  virtual Index num_blocks(Index batch_entry, Index head) const = 0;
  virtual TokenSet queries(Index batch_entry, Index head, Index block) const = 0;
  virtual Index max_sources() const = 0;
  /// Writes the sources of a block to `out` (room for max_sources()) and returns how many.
  virtual Index sources(Index batch_entry, Index head, Index block,
                        std::span<KeySource> out) const = 0;
  /// Fills what is visible in a tile of a partial source.
  virtual void mask(const Tile& tile, TileMask& mask) const = 0;
  /// Whether contiguous sources occur: then keys are packed once and shared by all query blocks.
  virtual bool shares_packed_keys() const { return true; }

 private:
  Index query_block_, key_block_;
};

}  // namespace longattn
