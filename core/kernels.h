#pragma once

#include <cstdint>
#include <string_view>

#include "core/types.h"

// The vector arithmetic of the engine and of matmul, compiled once per instruction set from one
// source (kernels.cpp) and chosen at run time. Everything here works on scratch buffers that are
// padded to whole strips and panels; shapes are checked by the callers.
namespace longattn::kernels {

/// Keys (columns of a right-hand matrix) are packed in panels of this many: element (k, c) of panel
/// n is packed[(n * depth + k) * kPanel + c].
inline constexpr Index kPanel = 32;
/// Queries (rows of a left-hand matrix) are packed in strips of this many; the last strip of a
/// block has `rest` rows and is packed as [depth][rest].
inline constexpr Index kStrip = 12;
/// Rows of accumulators and value tiles are padded to a multiple of this many floats.
inline constexpr Index kRowPad = 16;

constexpr Index round_up(Index value, Index multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr Index strips(Index rows) { return (rows + kStrip - 1) / kStrip; }

/// Columns [begin, end) of a tile that some row of a strip uses; multiples of kPanel for scores.
struct ColumnRange {
  Index begin = 0, end = 0;
};

struct Kernels {
  std::string_view target;  ///< instruction set, as Highway names it

  /// target[n] = float(source[n]).
  void (*to_float)(DType dtype, const void* source, Index count, float* target);

  /// Packs `count` <= kPanel rows of `depth` floats into one panel; missing columns become zero.
  void (*pack_panel)(const float* const* rows, Index count, Index depth, float* panel);

  /// scores[r * stride + c] = sum_k strip[k * rows + r] * panels(k, c) for rows 0..rows-1 (rows <=
  /// kStrip) and the columns of `range`; adds to what is there if `accumulate`.
  void (*scores)(Index rows, Index depth, const float* strip, const float* panels,
                 ColumnRange range, float* scores, Index stride, bool accumulate);

  /// target[r * target_stride + c] += sum_{k in range} probs[r * probs_stride + k] *
  /// values[k * values_stride + c], for rows <= kStrip and c < columns (a multiple of kRowPad).
  void (*accumulate)(Index rows, ColumnRange range, const float* probs, Index probs_stride,
                     const float* values, Index values_stride, Index columns, float* target,
                     Index target_stride);

  /// One row of the online softmax, base 2 (Milakov & Gimelshein 2018): over count scores (a
  /// multiple of kPanel; hidden ones are -inf)
  ///   m' = max(m, max s);  p = 2^(s - m') in place;  sum' = sum 2^(m - m') + sum p
  /// Returns 2^(m - m'), by which the caller rescales the accumulator if it is not 1.
  float (*softmax_row)(float* scores, Index count, float* maximum, float* sum);

  /// row[n] *= factor, count a multiple of kRowPad.
  void (*rescale)(float* row, Index count, float factor);

  /// Whether all of row[0..count) are finite.
  bool (*all_finite)(const float* row, Index count);

  /// target[n] = 2^source[n].
  ///
  /// | domain          | result                                                    |
  /// |-----------------|-----------------------------------------------------------|
  /// | [-126, 127.5)   | relative error <= 2.5e-7 (of which the polynomial 7.5e-8) |
  /// | < -126, -inf    | 0: results below 2^-126 are flushed                       |
  /// | >= 127.5        | unspecified; scores are relative to their maximum, <= 0   |
  /// | NaN             | NaN                                                       |
  void (*exp2)(const float* source, Index count, float* target);
};

/// The kernels for this machine's best instruction set.
const Kernels& best();

}  // namespace longattn::kernels
