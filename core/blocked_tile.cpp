#include "core/blocked_tile.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numbers>

#include "core/fetch.h"

namespace longattn {

using kernels::ColumnRange;
using kernels::kFlatRows;
using kernels::kHalfPanel;
using kernels::kPanel;
using kernels::kTallStrip;
using kernels::round_up;

namespace {

ColumnRange widened(ColumnRange range, Index multiple) {
  return {range.begin / multiple * multiple, round_up(range.end, multiple)};
}

// Union of the columns that rows [first, last) see.
ColumnRange used_columns(const TileMask& mask, Index first, Index last) {
  ColumnRange range{mask.columns, 0};
  for (Index r = first; r < last; ++r) {
    if (mask.begin[r] >= mask.end[r]) continue;
    range.begin = std::min(range.begin, mask.begin[r]);
    range.end = std::max(range.end, mask.end[r]);
  }
  return range;
}

bool hides_something(const TileMask& mask, ColumnRange used) {
  if (mask.uses_bits) return true;
  for (Index r = 0; r < mask.rows; ++r) {
    if (mask.begin[r] > used.begin || mask.end[r] < used.end) return true;
  }
  return false;
}

// From scores q.k to base-2 exponents.
float exponent_factor(const Problem& p) {
  return static_cast<float>(p.effective_scale() * std::numbers::log2e);
}

}  // namespace

// The words of a query or a key, in place if they can be read there, else copied to the given slot.
const float* BlockedTile::row_words(const void* row, Index slot) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(row) % sizeof(float) == 0;
  if (p_.dtype == DType::float32 || (l_.tiles.pair == 2 && aligned && p_.head_dim % 2 == 0)) {
    return static_cast<const float*>(row);
  }
  float* copy = scratch_.convert.data() + slot * p_.head_dim;
  if (l_.tiles.pair == 2) {
    copy[l_.depth - 1] = 0;  // the second half of the last word, if head_dim is odd
    std::memcpy(copy, row, static_cast<size_t>(p_.head_dim * byte_size(p_.dtype)));
  } else {
    k_.to_float(p_.dtype, row, p_.head_dim, copy);
  }
  return copy;
}

void BlockedTile::pack_keys(Index batch_entry, Index kv_head, const TokenSet& keys, float* panel) {
  const float* rows[kPanel];
  for (Index c = 0; c < keys.count; ++c) {
    rows[c] = row_words(inputs_.keys.row(batch_entry, kv_head, keys[c]), c);
  }
  k_.pack_panel(rows, keys.count, l_.depth, panel);
}

void BlockedTile::fetch_later(const ConstTensorView& view, Index batch_entry, Index head,
                              const TokenSet& tokens) {
  if (tokens.list != nullptr || tokens.count == 0 || ahead_size_ == ahead_.size()) return;
  ahead_[ahead_size_++] =
      rows_ahead(view, batch_entry, head, tokens.begin, tokens.stride, tokens.count);
}

void BlockedTile::pack_queries(Index batch_entry, Index head, const TokenSet& queries,
                               Index strip) {
  strip_ = strip;
  // Pairs cannot be scaled without rounding; their scores are, later.
  const float factor = l_.tiles.pair == 1 ? exponent_factor(p_) : 1.0f;
  for (Index first = 0; first < queries.count; first += strip) {
    const Index count = std::min(strip, queries.count - first);
    const float* rows[kTallStrip];
    for (Index r = 0; r < count; ++r) {
      rows[r] = row_words(inputs_.queries.row(batch_entry, head, queries[first + r]), r);
    }
    float* words = scratch_.queries.data() + first * l_.query_words;
    if (l_.few_rows) {
      for (Index r = 0; r < count; ++r) {
        k_.scale(rows[r], l_.depth, factor, words + r * l_.query_words);
      }
    } else {
      k_.pack_strip(rows, count, l_.depth, factor, words);
    }
  }
}

TileMask BlockedTile::empty_mask(const Tile& tile) {
  const auto rows = static_cast<size_t>(l_.rows), filled = static_cast<size_t>(filled_);
  TileMask mask;
  mask.begin = scratch_.begins.subspan(size_ * rows, rows);
  mask.end = scratch_.ends.subspan(size_ * rows, rows);
  mask.bits = scratch_.bits.subspan(rows * (filled / 64 + size_));
  mask.bias = scratch_.bias.subspan(rows * filled);
  mask.reset(tile.queries.count, tile.keys.count);
  return mask;
}

void BlockedTile::attend(const Tile& tile, ColumnRange source, bool partial, const float* panels) {
  const Index width = round_up(tile.keys.count, kPanel);
  if (size_ == pieces_.size() || filled_ + width > l_.columns) finish();
  Piece& piece = pieces_[size_];
  piece.tile = tile;
  piece.mask = empty_mask(tile);
  piece.panels = panels;
  piece.copied_values = scratch_.values.data() + filled_ / l_.tiles.pair * l_.value_columns;
  if (partial) l_.schedule.mask(tile, piece.mask);
  for (Index r = 0; r < piece.mask.rows; ++r) piece.mask.clip(r, source.begin, source.end);
  const ColumnRange used = used_columns(piece.mask, 0, piece.mask.rows);
  if (used.begin >= used.end) return;
  if (panels == nullptr && !l_.few_rows) {
    float* gathered = scratch_.keys.data() + filled_ * l_.depth;
    for (Index c = 0; c < tile.keys.count; c += kPanel) {
      pack_keys(tile.batch_entry, p_.kv_head(tile.head),
                tile.keys.slice(c, std::min(kPanel, tile.keys.count - c)), gathered + c * l_.depth);
    }
    piece.panels = gathered;
  }
  const ColumnRange computed{0, round_up(tile.keys.count, l_.tiles.pair * kHalfPanel)};
  piece.everything_visible = !piece.mask.uses_bias && !hides_something(piece.mask, computed);
  piece.odd_values = hides_something(piece.mask, used) && may_have_odd_values(tile, used) &&
                     has_odd_values(tile.batch_entry, p_.kv_head(tile.head),
                                    tile.keys.slice(used.begin, used.end - used.begin));
  piece.values = prepare_values(piece, used);
  ++size_;
  filled_ += width;
}

void BlockedTile::finish() {
  if (size_ == 0) return;
  const Index rows = pieces_[0].tile.queries.count;
  for (Index first = 0; first < rows; first += strip_) {
    attend_strip(first, std::min(strip_, rows - first));
  }
  size_ = 0;
  filled_ = 0;
}

void BlockedTile::attend_strip(Index first, Index rows) {
  Index count = 0;
  bool biased = false;
  for (Piece& piece : pieces()) {
    piece.used = used_columns(piece.mask, first, first + rows);
    piece.at = count;
    piece.range = {0, 0};
    if (piece.used.begin >= piece.used.end) continue;
    piece.range = widened(piece.used, l_.tiles.pair * kHalfPanel);
    count += piece.range.end - piece.range.begin;
    biased |= piece.mask.uses_bias;
    score(first, rows, piece);
  }
  if (count == 0) return;
  // Queries of one float a word were scaled when packed. The others' scores are scaled by the
  // softmax, unless a bias must be added before or the order of scores is reversed.
  float factor = l_.tiles.pair == 1 ? 1.0f : exponent_factor(p_);
  float* scores = scratch_.scores.data();
  if (factor != 1.0f && (biased || !(factor > 0))) {
    for (Index r = 0; r < rows; ++r) {
      k_.scale(scores + r * l_.score_stride, count, factor, scores + r * l_.score_stride);
    }
    factor = 1.0f;
  }
  for (const Piece& piece : pieces()) {
    if (!piece.everything_visible) hide(first, rows, piece);
  }
  float correction[kTallStrip];
  l_.tiles.softmax(rows, count, factor, scores, l_.score_stride, scratch_.maximum.data() + first,
                   scratch_.sum.data() + first, correction);
  for (Index r = 0; r < rows; ++r) {
    if (correction[r] == 1.0f) continue;
    float* row = scratch_.accumulator.data() + (first + r) * l_.value_columns;
    k_.scale(row, l_.value_columns, correction[r], row);
  }
  for (const Piece& piece : pieces()) {
    if (piece.range.end > 0) accumulate(first, rows, piece);
  }
}

// Scores of a strip in the columns computed.
void BlockedTile::score(Index first, Index rows, const Piece& piece) {
  const Tile& tile = piece.tile;
  const float* queries = scratch_.queries.data() + first * l_.query_words;
  float* target = scratch_.scores.data() + piece.at - piece.range.begin;
  if (!l_.few_rows) {
    while (ahead_now_ < ahead_size_ && ahead_[ahead_now_].lines == 0) ++ahead_now_;
    l_.tiles.scores(rows, l_.depth, queries, piece.panels, piece.range, target, l_.score_stride,
                    false, ahead_now_ < ahead_size_ ? &ahead_[ahead_now_] : nullptr);
    return;
  }
  const Index kv_head = p_.kv_head(tile.head);
  const float* keys[kHalfPanel];
  for (Index c = piece.range.begin; c < piece.range.end; c += kHalfPanel) {
    for (Index n = 0; n < kHalfPanel; ++n) {
      // Columns beyond those used are hidden again; they may be padding, which is not read.
      const bool read = c + n >= piece.used.begin && c + n < piece.used.end;
      keys[n] =
          read ? inputs_.keys.float_row(tile.batch_entry, kv_head, tile.keys[c + n]) : queries;
    }
    k_.dots(rows, p_.head_dim, queries, l_.query_words, keys, kHalfPanel, target + c,
            l_.score_stride);
  }
}

// Adds the bias and sets what a row may not see to what 2^ makes 0, within the columns computed.
void BlockedTile::hide(Index first, Index rows, const Piece& piece) {
  const TileMask& mask = piece.mask;
  float* scores = scratch_.scores.data() + piece.at - piece.range.begin;
  for (Index r = first; r < first + rows; ++r) {
    k_.hide(scores + (r - first) * l_.score_stride, piece.range, {mask.begin[r], mask.end[r]},
            mask.uses_bits ? mask.bits.data() + r * TileMask::words(mask.columns) : nullptr,
            mask.uses_bias ? mask.bias.data() + r * mask.columns : nullptr);
  }
}

// Probabilities of a strip times values.
void BlockedTile::accumulate(Index first, Index rows, const Piece& piece) {
  const float* probs = scratch_.scores.data() + piece.at / l_.tiles.pair;
  float* target = scratch_.accumulator.data() + first * l_.value_columns;
  const Values& values = piece.values;
  if (l_.tiles.pair == 1) {
    // The ranges of the rows of a tall strip are likely to differ.
    const Index parts = strip_ == kTallStrip ? (rows + kFlatRows - 1) / kFlatRows : 1;
    Index r = 0, count = 0;
    for (Index part = 0; part < parts; ++part, r += count) {
      count = (rows - r + parts - part - 1) / (parts - part);
      const ColumnRange used =
          parts == 1 ? piece.used : used_columns(piece.mask, first + r, first + r + count);
      if (used.begin >= used.end) continue;
      l_.tiles.accumulate(count, used.end - used.begin,
                          probs + r * l_.score_stride + used.begin - piece.range.begin,
                          l_.score_stride, values.words + used.begin * values.stride, values.stride,
                          l_.value_columns, target + r * l_.value_columns, l_.value_columns);
    }
  } else {
    l_.tiles.accumulate(rows, (piece.range.end - piece.range.begin) / 2, probs, l_.score_stride,
                        values.words + piece.range.begin / 2 * values.stride, values.stride,
                        l_.value_columns, target, l_.value_columns);
  }
  if (piece.odd_values) add_odd_values(first, rows, piece);
}

}  // namespace longattn
