#include "variants/reformer/lsh_gathered.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

namespace longattn {

using kernels::ColumnRange;
using kernels::kPanel;
using kernels::kScoreStride;

namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

Index convert_floats(const Problem& p) { return std::max(kPanel * p.head_dim, p.value_dim); }

}  // namespace

static_assert(std::is_trivially_destructible_v<LshGathered::Buffers>, "it lives in a Workspace");

LshGathered::Buffers::Buffers(const Problem& p, Index rounds, Workspace& w)
    : keys(w.take<float>(kLshTile * p.head_dim)),
      values(w.take<float>(kLshTile * value_columns(p))),
      convert(w.take<float>(convert_floats(p))),
      tags(w.take<std::uint8_t>(rounds * kLshTile)),
      places(w.take<std::int32_t>(rounds * kLshTile)),
      odd_columns(w.take<Index>(kLshTile)),
      odd_rows(w.take<std::uint16_t>(kLshTile)) {}

Index LshGathered::Buffers::bytes(const Problem& p, Index rounds) {
  return Workspace::bytes_for<float>(kLshTile * p.head_dim) +
         Workspace::bytes_for<float>(kLshTile * value_columns(p)) +
         Workspace::bytes_for<float>(convert_floats(p)) +
         Workspace::bytes_for<std::uint8_t>(rounds * kLshTile) +
         Workspace::bytes_for<std::int32_t>(rounds * kLshTile) +
         Workspace::bytes_for<Index>(kLshTile) + Workspace::bytes_for<std::uint16_t>(kLshTile);
}

LshGathered::LshGathered(const LshRounds& rounds, Index round, const Inputs& inputs,
                         Buffers& buffers)
    : p_(rounds.problem()),
      rounds_(rounds),
      round_(round),
      order_(rounds.key_order(round)),
      inputs_(inputs),
      buffers_(buffers),
      value_columns_(value_columns(p_)) {}

const float* LshGathered::floats(const ConstTensorView& view, Index head, Index row, Index slot) {
  if (view.dtype == DType::float32) return view.float_row(0, head, row);
  float* copy = buffers_.convert.data() + slot * view.dim();
  k_.to_float(view.dtype, view.row(0, head, row), view.dim(), copy);
  return copy;
}

// The last panel is gathered whole, so that none is packed twice.
void LshGathered::gather(Index begin, Index end) {
  if (begin < begin_ || begin > end_) {
    begin_ = end_ = begin / kPanel * kPanel;
    odd_ = 0;
  } else if (end > begin_ + kLshTile) {
    forget_columns((begin - begin_) / kPanel * kPanel);
  }
  const Index keys = rounds_.keys();
  for (; end_ < end; end_ = std::min(end_ + kPanel, keys)) {
    const Index count = std::min(kPanel, keys - end_), column = end_ - begin_;
    const float* rows[kPanel];
    for (Index n = 0; n < count; ++n) rows[n] = floats(inputs_.keys, 0, order_[end_ + n], n);
    k_.pack_panel(rows, count, p_.head_dim, buffers_.keys.data() + column * p_.head_dim);
    gather_values(column, count);
    for (Index earlier = 0; earlier < round_; ++earlier) {
      for (Index n = 0; n < count; ++n) {
        const Index key = order_[end_ + n], at = earlier * kLshTile + column + n;
        buffers_.tags[at] = rounds_.key_tags(key)[earlier];
        buffers_.places[at] = rounds_.places(key)[earlier];
      }
    }
  }
}

// Moves what is gathered to the front, over the first `count` columns: cheaper than to gather again
// what the next block shares with this one.
void LshGathered::forget_columns(Index count) {
  const Index left = end_ - begin_ - count;
  const auto move = [&](auto numbers, Index first, Index of_column, Index columns) {
    const auto from = numbers.begin() + first + count * of_column;
    std::copy(from, from + columns * of_column, numbers.begin() + first);
  };
  move(buffers_.keys, 0, p_.head_dim, kernels::round_up(left, kPanel));
  move(buffers_.values, 0, value_columns_, left);
  for (Index earlier = 0; earlier < round_; ++earlier) {
    move(buffers_.tags, earlier * kLshTile, 1, left);
    move(buffers_.places, earlier * kLshTile, 1, left);
  }
  Index kept = 0;
  for (Index n = 0; n < odd_; ++n) {
    const Index column = buffers_.odd_columns[n];
    if (column >= count) buffers_.odd_columns[kept++] = column - count;
  }
  odd_ = kept;
  begin_ += count;
}

// Those of places end_, ... to columns column, ...
void LshGathered::gather_values(Index column, Index count) {
  float* const values = buffers_.values.data() + column * value_columns_;
  for (Index n = 0; n < count; ++n) {
    float* value = values + n * value_columns_;
    k_.to_float(inputs_.values.dtype, inputs_.values.row(0, 0, order_[end_ + n]), p_.value_dim,
                value);
    std::fill(value + p_.value_dim, value + value_columns_, 0.0f);
  }
  if (k_.all_finite(values, count * value_columns_)) return;
  for (Index n = 0; n < count; ++n) {
    float* value = values + n * value_columns_;
    if (k_.all_finite(value, p_.value_dim)) continue;
    buffers_.odd_columns[odd_++] = column + n;
    for (Index c = 0; c < p_.value_dim; ++c) value[c] = std::isfinite(value[c]) ? value[c] : 0;
  }
}

// Few keys have the query's tag of an earlier round, so that most are done with in one search.
void LshGathered::hide_met(Index head, Index query, ColumnRange range, float* scores) const {
  for (Index earlier = 0; earlier < round_; ++earlier) {
    const std::uint8_t* tags = buffers_.tags.data() + earlier * kLshTile;
    const std::uint8_t tag = rounds_.query_tags(head, query)[earlier];
    for (Index c = range.begin; c < range.end; ++c) {
      const void* found = std::memchr(tags + c, tag, static_cast<size_t>(range.end - c));
      if (found == nullptr) break;
      c = static_cast<const std::uint8_t*>(found) - tags;
      const std::int32_t place = buffers_.places[earlier * kLshTile + c];
      if (rounds_.seen(earlier, head, query).contains(place) ||
          rounds_.wrapped(earlier, head, query).contains(place)) {
        scores[c] = kNothing;
      }
    }
  }
}

void LshGathered::note_odd_rows(Index rows, ColumnRange used, const float* scores) {
  for (Index n = 0; n < odd_; ++n) {
    const Index column = buffers_.odd_columns[n];
    buffers_.odd_rows[n] = 0;
    if (column < used.begin || column >= used.end) continue;
    for (Index r = 0; r < rows; ++r) {
      if (scores[r * kScoreStride + column] == kNothing) continue;
      buffers_.odd_rows[n] = static_cast<std::uint16_t>(buffers_.odd_rows[n] | 1u << r);
    }
  }
}

void LshGathered::add_odd_values(Index rows, ColumnRange used, const float* weights,
                                 float* accumulator) {
  for (Index n = 0; n < odd_; ++n) {
    const Index column = buffers_.odd_columns[n];
    if (column < used.begin || column >= used.end || buffers_.odd_rows[n] == 0) continue;
    const float* value = floats(inputs_.values, 0, order_[begin_ + column], 0);
    for (Index r = 0; r < rows; ++r) {
      if ((buffers_.odd_rows[n] >> r & 1) == 0) continue;
      const float weight = weights[r * kScoreStride + column];
      for (Index c = 0; c < p_.value_dim; ++c) {
        if (std::isfinite(value[c])) continue;
        accumulator[r * value_columns_ + c] += weight * value[c];
      }
    }
  }
}

}  // namespace longattn
