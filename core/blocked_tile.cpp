#include "core/blocked_tile.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>

namespace longattn {

using kernels::ColumnRange;
using kernels::kHalfPanel;
using kernels::kPanel;
using kernels::kStrip;
using kernels::round_up;

namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

ColumnRange widened(ColumnRange range, Index multiple) {
  return {range.begin / multiple * multiple, round_up(range.end, multiple)};
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

bool BlockedTile::has_odd_values(Index batch_entry, Index kv_head, const TokenSet& keys) {
  for (Index c = 0; c < keys.count; ++c) {
    if (!k_.all_finite(value_row(batch_entry, kv_head, keys[c]), p_.value_dim)) return true;
  }
  return false;
}

void BlockedTile::pack_queries(Index batch_entry, Index head, const TokenSet& queries) {
  // Pairs cannot be scaled without rounding; their scores are, later.
  const float factor = l_.tiles.pair == 1 ? exponent_factor(p_) : 1.0f;
  for (Index first = 0; first < queries.count; first += kStrip) {
    const Index count = std::min(kStrip, queries.count - first);
    const float* rows[kStrip];
    for (Index r = 0; r < count; ++r) {
      rows[r] = row_words(inputs_.queries.row(batch_entry, head, queries[first + r]), r);
    }
    float* strip = scratch_.queries.data() + first * l_.query_words;
    if (l_.few_rows) {
      for (Index r = 0; r < count; ++r) {
        k_.scale(rows[r], l_.depth, factor, strip + r * l_.query_words);
      }
    } else {
      k_.pack_strip(rows, count, l_.depth, factor, strip);
    }
  }
}

void BlockedTile::attend(const Tile& tile, ColumnRange source, bool partial, const float* panels) {
  TileMask& mask = scratch_.mask;
  mask.reset(tile.queries.count, tile.keys.count);
  if (partial) l_.schedule.mask(tile, mask);
  for (Index r = 0; r < mask.rows; ++r) mask.clip(r, source.begin, source.end);
  const ColumnRange used = used_columns(0, mask.rows);
  if (used.begin >= used.end) return;
  const Index kv_head = p_.kv_head(tile.head);
  if (panels == nullptr && !l_.few_rows) {
    for (Index c = 0; c < tile.keys.count; c += kPanel) {
      pack_keys(tile.batch_entry, kv_head,
                tile.keys.slice(c, std::min(kPanel, tile.keys.count - c)),
                scratch_.keys.data() + c * l_.depth);
    }
    panels = scratch_.keys.data();
  }
  const Index step = l_.tiles.pair * kHalfPanel;
  everything_visible_ = !mask.uses_bias && !hides_something({0, round_up(mask.columns, step)});
  const Values values = prepare_values(tile, used);
  for (Index row = 0; row < mask.rows; row += kStrip) {
    attend_strip(row, std::min(kStrip, mask.rows - row), tile, panels, values);
  }
}

void BlockedTile::attend_strip(Index first, Index rows, const Tile& tile, const float* panels,
                               const Values& values) {
  const ColumnRange used = used_columns(first, first + rows);
  if (used.begin >= used.end) return;
  const ColumnRange range = widened(used, l_.tiles.pair * kHalfPanel);
  const Index stride = l_.score_stride;
  float* scores = scratch_.scores.data();
  score(first, rows, tile, panels, range);
  // Queries of one float a word were scaled when packed. The others' scores are scaled by the
  // softmax, unless a bias must be added before or the order of scores is reversed.
  const float factor = l_.tiles.pair == 1 ? 1.0f : exponent_factor(p_);
  const bool scaled = factor == 1.0f || scratch_.mask.uses_bias || !(factor > 0);
  if (!everything_visible_ || scaled != (factor == 1.0f)) {
    for (Index r = 0; r < rows; ++r) {
      float* row = scores + r * stride;
      if (scaled && factor != 1.0f) {
        for (Index c = range.begin; c < range.end; ++c) row[c] *= factor;
      }
      hide(first + r, range, row);
    }
  }
  float correction[kStrip];
  l_.tiles.softmax(rows, range.end - range.begin, scaled ? 1.0f : factor, scores + range.begin,
                   stride, scratch_.maximum.data() + first, scratch_.sum.data() + first,
                   correction);
  float* accumulator = scratch_.accumulator.data() + first * l_.value_columns;
  for (Index r = 0; r < rows; ++r) {
    if (correction[r] == 1.0f) continue;
    float* row = accumulator + r * l_.value_columns;
    k_.scale(row, l_.value_columns, correction[r], row);
  }
  if (l_.tiles.pair == 1) {
    l_.tiles.accumulate(rows, used.end - used.begin, scores + used.begin, stride,
                        values.words + used.begin * values.stride, values.stride, l_.value_columns,
                        accumulator, l_.value_columns);
  } else {
    l_.tiles.accumulate(rows, (range.end - range.begin) / 2, scores + range.begin, stride,
                        values.words + range.begin / 2 * values.stride, values.stride,
                        l_.value_columns, accumulator, l_.value_columns);
  }
  if (odd_values_) add_odd_values(first, rows, tile, range);
}

// Scores of a strip in the columns of `range`.
void BlockedTile::score(Index first, Index rows, const Tile& tile, const float* panels,
                        ColumnRange range) {
  const float* queries = scratch_.queries.data() + first * l_.query_words;
  if (!l_.few_rows) {
    l_.tiles.scores(rows, l_.depth, queries, panels, range, scratch_.scores.data(), l_.score_stride,
                    false);
    return;
  }
  const Index kv_head = p_.kv_head(tile.head);
  const ColumnRange used = used_columns(first, first + rows);
  const float* keys[kHalfPanel];
  for (Index c = range.begin; c < range.end; c += kHalfPanel) {
    for (Index n = 0; n < kHalfPanel; ++n) {
      // Columns beyond those used are hidden again; they may be padding, which is not read.
      const bool read = c + n >= used.begin && c + n < used.end;
      keys[n] =
          read ? inputs_.keys.float_row(tile.batch_entry, kv_head, tile.keys[c + n]) : queries;
    }
    k_.dots(rows, p_.head_dim, queries, l_.query_words, keys, kHalfPanel,
            scratch_.scores.data() + c, l_.score_stride);
  }
}

// Union of the columns that rows [first, last) see.
ColumnRange BlockedTile::used_columns(Index first, Index last) const {
  const TileMask& mask = scratch_.mask;
  ColumnRange range{mask.columns, 0};
  for (Index r = first; r < last; ++r) {
    if (mask.begin[r] >= mask.end[r]) continue;
    range.begin = std::min(range.begin, mask.begin[r]);
    range.end = std::max(range.end, mask.end[r]);
  }
  return range;
}

bool BlockedTile::hides_something(ColumnRange used) const {
  const TileMask& mask = scratch_.mask;
  if (mask.uses_bits) return true;
  for (Index r = 0; r < mask.rows; ++r) {
    if (mask.begin[r] > used.begin || mask.end[r] < used.end) return true;
  }
  return false;
}

// Adds the bias and sets what row r may not see to what 2^ makes 0, within the columns computed.
void BlockedTile::hide(Index r, ColumnRange range, float* row) const {
  const TileMask& mask = scratch_.mask;
  // A row that sees nothing may begin and end before the columns of its strip.
  const Index begin = std::clamp(mask.begin[r], range.begin, range.end);
  const Index end = std::max(std::min(mask.end[r], range.end), begin);
  if (mask.uses_bias) {
    const float* bias = mask.bias.data() + r * mask.columns;
    for (Index c = begin; c < end; ++c) row[c] += bias[c] * std::numbers::log2e_v<float>;
  }
  if (mask.uses_bits) {
    for (Index c = begin; c < end; ++c) {
      if (!mask.sees(r, c)) row[c] = kNothing;
    }
  }
  std::fill(row + range.begin, row + begin, kNothing);
  std::fill(row + end, row + range.end, kNothing);
}

BlockedTile::Values BlockedTile::prepare_values(const Tile& tile, ColumnRange used) {
  Values values{scratch_.values.data(), l_.value_columns};
  odd_values_ = false;
  const bool in_place = tile.keys.contiguous() && !l_.copies_values();
  if (in_place) {
    values = {inputs_.values.float_row(tile.batch_entry, p_.kv_head(tile.head), tile.keys.begin),
              inputs_.values.strides[2]};
  }
  if (hides_something(used) && may_have_odd_values(tile, used)) {
    const TokenSet keys = tile.keys.slice(used.begin, used.end - used.begin);
    odd_values_ = has_odd_values(tile.batch_entry, p_.kv_head(tile.head), keys);
  }
  if (in_place && !odd_values_) return values;
  load_values(tile, used);
  if (odd_values_) set_apart_odd_values(tile, used);
  return {scratch_.values.data(), l_.value_columns};
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

void BlockedTile::load_values(const Tile& tile, ColumnRange used) {
  const Index width = l_.value_columns, kv_head = p_.kv_head(tile.head);
  float* words = scratch_.values.data();
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
  const ColumnRange range = widened(used, kPanel);
  for (Index w = range.begin / 2; w < range.end / 2; ++w) {
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
void BlockedTile::set_apart_odd_values(const Tile& tile, ColumnRange used) {
  for (Index c = used.begin; c < used.end; ++c) {
    const float* value = value_row(tile.batch_entry, p_.kv_head(tile.head), tile.keys[c]);
    for (Index k = 0; k < p_.value_dim; ++k) {
      if (std::isfinite(value[k])) continue;
      if (l_.tiles.pair == 1) {
        scratch_.values[static_cast<size_t>(c * l_.value_columns + k)] = 0;
        continue;
      }
      const Index word = c / kPanel * kHalfPanel + c % kHalfPanel;
      float& pair = scratch_.values[static_cast<size_t>(word * l_.value_columns + k)];
      const std::uint32_t other = c % kPanel < kHalfPanel ? 0xFFFF0000u : 0x0000FFFFu;
      pair = std::bit_cast<float>(std::bit_cast<std::uint32_t>(pair) & other);
    }
  }
}

void BlockedTile::add_odd_values(Index first, Index rows, const Tile& tile, ColumnRange range) {
  for (Index c = range.begin; c < std::min(range.end, tile.keys.count); ++c) {
    bool seen = false;
    for (Index r = first; r < first + rows; ++r) seen = seen || scratch_.mask.sees(r, c);
    if (!seen) continue;
    const float* value = value_row(tile.batch_entry, p_.kv_head(tile.head), tile.keys[c]);
    for (Index k = 0; k < p_.value_dim; ++k) {
      if (std::isfinite(value[k])) continue;
      for (Index r = first; r < first + rows; ++r) {
        if (!scratch_.mask.sees(r, c)) continue;
        scratch_.accumulator[static_cast<size_t>(r * l_.value_columns + k)] +=
            probability(r - first, c, range) * value[k];
      }
    }
  }
}

// What the softmax of the strip left for one of its rows and a column.
float BlockedTile::probability(Index r, Index column, ColumnRange range) const {
  const float* row = scratch_.scores.data() + r * l_.score_stride;
  if (l_.tiles.pair == 1) return row[column];
  const Index inside = column - range.begin;
  const float word = row[range.begin + inside / kPanel * kHalfPanel + inside % kHalfPanel];
  const auto bits = std::bit_cast<std::uint32_t>(word);
  return std::bit_cast<float>(inside % kPanel < kHalfPanel ? bits << 16 : bits & 0xFFFF0000u);
}

}  // namespace longattn
