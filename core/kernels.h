#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/types.h"

// The vector arithmetic of the engine and of matmul, compiled once per instruction set from one
// source (kernels.cpp) and chosen at run time. Everything here works on scratch buffers that are
// padded to whole strips and panels; shapes are checked by the callers.
namespace longattn::kernels {

/// Keys (columns of a right-hand matrix) are packed in panels of this many: word (k, c) of panel n
/// is packed[(n * depth + k) * kPanel + c].
inline constexpr Index kPanel = 32;
inline constexpr Index kHalfPanel = 16;
/// Queries (rows of a left-hand matrix) are packed in strips of this many; the last strip of a
/// block has `rest` rows and is packed as [depth][rest].
inline constexpr Index kStrip = 12;
/// Or of this many, float32 alone, for masks with slanted edges: a strip that starts at a multiple
/// of 16 sees a window whose edges lie at multiples of 16 in whole half panels.
inline constexpr Index kTallStrip = 16;
/// At most this many rows are multiplied by values with twice as many columns at a time as more
/// are: as fast, and their ranges of keys can be followed more closely.
inline constexpr Index kFlatRows = 6;
/// Rows of accumulators and value tiles are padded to a multiple of this many floats; of kHalfPanel
/// for pairs.
inline constexpr Index kRowPad = 8;
/// The distance of rows of scores that the kernels know: 512 columns and a panel. Others work too.
inline constexpr Index kScoreStride = 544;
/// With at most this many rows, packing keys would cost more than it saves.
inline constexpr Index kFewRows = 4;

constexpr Index round_up(Index value, Index multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Columns [begin, end) of a tile that some row of a strip uses.
struct ColumnRange {
  Index begin = 0, end = 0;
};

/// Rows of memory that coming work reads first: products fetch them into the L2 cache as they go, a
/// line at a step, so that the memory works while the multiply-add units do.
struct Ahead {
  static constexpr Index kLine = 64;  ///< bytes
  const char* line = nullptr;         ///< the next one to fetch
  Index lines = 0, rows = 0;          ///< left of this row; rows after this one
  Index lines_of_row = 0;
  Index jump = 0;  ///< bytes from the end of one row's lines to the next row

  void fetch() {
    if (lines == 0) return;
    __builtin_prefetch(line, 0, 2);
    line += kLine;
    if (--lines == 0 && rows > 0) {
      --rows;
      lines = lines_of_row;
      line += jump;
    }
  }
};

/// The arithmetic of tiles. Operands are rows of 32-bit words (in float storage): a word is one
/// float32, or two bfloat16 whose products with another such word are both added to a float32
/// accumulator. Scores and accumulators are float32 in either case.
struct TileKernels {
  Index pair;  ///< elements in a word: 1 or 2

  /// scores[r * stride + c] = sum_k strip[k * rows + r] * panels(k, c) for rows 0..rows-1 (rows <=
  /// kTallStrip, of pairs kStrip), k < depth words and the columns of `range`, multiples of
  /// kHalfPanel; adds to what is there if `accumulate`. Fetches lines of `ahead`, if given,
  /// meanwhile.
  void (*scores)(Index rows, Index depth, const float* strip, const float* panels,
                 ColumnRange range, float* scores, Index stride, bool accumulate, Ahead* ahead);

  /// One step of the online softmax, base 2 (Milakov & Gimelshein 2018), for rows as above: over
  /// `count` scores s each (a positive multiple of kHalfPanel, of kPanel for pairs; hidden ones are
  /// -inf), factor > 0,
  ///   m' = max(m, factor max s);  p = 2^(factor s - m');  correction = 2^(m - m');
  ///   sum' = correction * sum + sum p
  /// The caller rescales the accumulators whose correction is not 1. Words of p take the place of
  /// the scores: word c is p_c; or, with pairs, rounded to bfloat16, word 16 n + w of each row
  /// holds columns 32 n + w and 32 n + w + 16, and the sum is of what was rounded.
  void (*softmax)(Index rows, Index count, float factor, float* scores, Index stride,
                  float* maximum, float* sum, float* correction);

  /// target[r * target_stride + c] += sum_{k < depth} probs[r * probs_stride + k] *
  /// values[k * values_stride + c], for rows as above and c < columns (a multiple of kRowPad, of
  /// kHalfPanel for pairs).
  void (*accumulate)(Index rows, Index depth, const float* probs, Index probs_stride,
                     const float* values, Index values_stride, Index columns, float* target,
                     Index target_stride);
};

struct Kernels {
  std::string_view target;  ///< instruction set, as Highway names it
  TileKernels float32, bfloat16;

  /// target[n] = float(source[n]).
  void (*to_float)(DType dtype, const void* source, Index count, float* target);

  /// Packs `count` <= kPanel rows of `depth` words into one panel; missing columns become zero.
  void (*pack_panel)(const float* const* rows, Index count, Index depth, float* panel);

  /// Packs `count` <= kTallStrip rows of `depth` words: strip[k * count + r] = factor * rows[r][k].
  void (*pack_strip)(const float* const* rows, Index count, Index depth, float factor,
                     float* strip);

  /// target[n] = the word of two bfloat16, low[n] and high[n]; a null pointer stands for zeros.
  void (*pair_rows)(const void* low, const void* high, Index count, float* target);

  /// scores[r * stride + n] = queries[r * query_stride ...] . keys[n], for rows <= kFewRows. Keys
  /// are read in place: for decoding, where each key is used once.
  void (*dots)(Index rows, Index depth, const float* queries, Index query_stride,
               const float* const* keys, Index count, float* scores, Index stride);

  /// target[n] = factor * source[n]; they may be the same.
  void (*scale)(const float* source, Index count, float factor, float* target);

  /// Prepares the scores row[c] of the columns of `range`, multiples of kHalfPanel, for the
  /// softmax: adds bias[c] log2 e, if given, and sets to -inf what is outside `seen` or whose bit
  /// of `bits`, if given, is 0. Operands are read for all columns of the range.
  void (*hide)(float* row, ColumnRange range, ColumnRange seen, const std::uint64_t* bits,
               const float* bias);

  /// Whether all of row[0..count) are finite.
  bool (*all_finite)(const float* row, Index count);

  /// target[n] = 2^source[n]; exact at 0.
  ///
  /// | domain          | result                                                    |
  /// |-----------------|-----------------------------------------------------------|
  /// | [-126, 127.5)   | relative error <= 2.5e-7 (of which the polynomial 9.2e-8) |
  /// | [-127, -126)    | in [0, 2^-126]                                            |
  /// | < -127, -inf    | 0                                                         |
  /// | >= 127.5        | unspecified; scores are relative to their maximum, <= 0   |
  /// | NaN             | NaN                                                       |
  void (*exp2)(const float* source, Index count, float* target);
};

/// The kernels of every instruction set that this machine has, best first; the first may use
/// bfloat16 dot products, the others do without.
std::span<const Kernels> available();
/// The first of them.
inline const Kernels& best() { return available().front(); }

/// The bfloat16 tiles of a machine with bfloat16 dot products (AVX512_BF16), with the softmax of
/// `portable`; elsewhere `portable` itself.
TileKernels with_dot_products(const TileKernels& portable);

}  // namespace longattn::kernels
