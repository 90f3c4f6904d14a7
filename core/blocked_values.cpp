#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/blocked_tile.h"

// The values of a tile, and the rare one that is infinite or NaN.
namespace longattn {

using kernels::ColumnRange;
using kernels::kHalfPanel;
using kernels::kPanel;
using kernels::round_up;

bool BlockedTile::has_odd_values(Index batch_entry, Index kv_head, const TokenSet& keys) {
  if (p_.dtype == DType::float32 && keys.contiguous() && keys.count > 0 &&
      inputs_.values.strides[2] == p_.value_dim) {  // one long row
    return !k_.all_finite(value_row(batch_entry, kv_head, keys.begin), keys.count * p_.value_dim);
  }
  for (Index c = 0; c < keys.count; ++c) {
    if (!k_.all_finite(value_row(batch_entry, kv_head, keys[c]), p_.value_dim)) return true;
  }
  return false;
}

// Values of the columns that some query uses, in place where they can be.
BlockedTile::Values BlockedTile::prepare_values(const Piece& piece, ColumnRange used) {
  const Tile& tile = piece.tile;
  if (tile.keys.contiguous() && !l_.copies_values() && !piece.odd_values) {
    return {inputs_.values.float_row(tile.batch_entry, p_.kv_head(tile.head), tile.keys.begin),
            inputs_.values.strides[2]};
  }
  load_values(piece, used);
  if (piece.odd_values) set_apart_odd_values(piece, used);
  return {piece.copied_values, l_.value_columns};
}

bool BlockedTile::may_have_odd_values(const Tile& tile, ColumnRange used) const {
  if (odd_of_panels_ == nullptr) return true;
  if (tile.keys.contiguous()) {
    const Index first = tile.keys[used.begin] / kPanel, last = tile.keys[used.end - 1] / kPanel;
    return std::any_of(odd_of_panels_ + first, odd_of_panels_ + last + 1,
                       [](std::uint8_t odd) { return odd != 0; });
  }
  for (Index c = used.begin; c < used.end; ++c) {
    if (odd_of_panels_[tile.keys[c] / kPanel] != 0) return true;
  }
  return false;
}

// A value as floats, in place or in scratch until the next call.
const float* BlockedTile::value_row(Index batch_entry, Index kv_head, Index key) {
  const void* row = inputs_.values.row(batch_entry, kv_head, key);
  if (p_.dtype == DType::float32) return static_cast<const float*>(row);
  k_.to_float(p_.dtype, row, p_.value_dim, scratch_.convert.data());
  return scratch_.convert.data();
}

void BlockedTile::load_values(const Piece& piece, ColumnRange used) {
  const Tile& tile = piece.tile;
  const Index width = l_.value_columns, kv_head = p_.kv_head(tile.head);
  float* words = piece.copied_values;
  if (l_.tiles.pair == 1) {
    for (Index c = used.begin; c < used.end; ++c) {
      float* row = words + c * width;
      k_.to_float(p_.dtype, inputs_.values.row(tile.batch_entry, kv_head, tile.keys[c]),
                  p_.value_dim, row);
      std::fill(row + p_.value_dim, row + width, 0.0f);
    }
    return;
  }
  // Pairs as the softmax makes them; columns that no query uses are zeros.
  const auto source = [&](Index c) -> const void* {
    if (c < used.begin || c >= used.end) return nullptr;
    return inputs_.values.row(tile.batch_entry, kv_head, tile.keys[c]);
  };
  const Index first = used.begin / kPanel * kPanel, last = round_up(used.end, kPanel);
  for (Index w = first / 2; w < last / 2; ++w) {
    const Index low = w / kHalfPanel * kPanel + w % kHalfPanel;
    float* row = words + w * width;
    k_.pair_rows(source(low), source(low + kHalfPanel), p_.value_dim, row);
    std::fill(row + p_.value_dim, row + width, 0.0f);
  }
}

// The rare tile with an infinite or NaN value that some query must not see. Hidden, it would reach
// the output as 0 * NaN; so the product gets zero in its place, and add_odd_values adds it to the
// rows that see it. For all other rows the product is the same to the bit as if the value were
// finite.
void BlockedTile::set_apart_odd_values(const Piece& piece, ColumnRange used) {
  const Tile& tile = piece.tile;
  for (Index c = used.begin; c < used.end; ++c) {
    const float* value = value_row(tile.batch_entry, p_.kv_head(tile.head), tile.keys[c]);
    for (Index k = 0; k < p_.value_dim; ++k) {
      if (std::isfinite(value[k])) continue;
      if (l_.tiles.pair == 1) {
        piece.copied_values[c * l_.value_columns + k] = 0;
        continue;
      }
      const Index word = c / kPanel * kHalfPanel + c % kHalfPanel;
      float& pair = piece.copied_values[word * l_.value_columns + k];
      const std::uint32_t other = c % kPanel < kHalfPanel ? 0xFFFF0000u : 0x0000FFFFu;
      pair = std::bit_cast<float>(std::bit_cast<std::uint32_t>(pair) & other);
    }
  }
}

void BlockedTile::add_odd_values(Index first, Index rows, const Piece& piece) {
  const Tile& tile = piece.tile;
  for (Index c = piece.range.begin; c < std::min(piece.range.end, tile.keys.count); ++c) {
    bool seen = false;
    for (Index r = first; r < first + rows; ++r) seen = seen || piece.mask.sees(r, c);
    if (!seen) continue;
    const float* value = value_row(tile.batch_entry, p_.kv_head(tile.head), tile.keys[c]);
    for (Index k = 0; k < p_.value_dim; ++k) {
      if (std::isfinite(value[k])) continue;
      for (Index r = first; r < first + rows; ++r) {
        if (!piece.mask.sees(r, c)) continue;
        scratch_.accumulator[static_cast<size_t>(r * l_.value_columns + k)] +=
            probability(r - first, c, piece) * value[k];
      }
    }
  }
}

// What the softmax of the strip left for one of its rows and a column.
float BlockedTile::probability(Index r, Index column, const Piece& piece) const {
  const float* row = scratch_.scores.data() + r * l_.score_stride + piece.at / l_.tiles.pair;
  const Index inside = column - piece.range.begin;
  if (l_.tiles.pair == 1) return row[inside];
  const auto bits =
      std::bit_cast<std::uint32_t>(row[inside / kPanel * kHalfPanel + inside % kHalfPanel]);
  return std::bit_cast<float>(inside % kPanel < kHalfPanel ? bits << 16 : bits & 0xFFFF0000u);
}

}  // namespace longattn
