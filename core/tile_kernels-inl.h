// The arithmetic of tiles: register tiles, their products, the exponential and the softmax. Like
// all of Highway's -inl files this one is read once for each instruction set, by kernels.cpp.
#if defined(LONGATTN_TILE_KERNELS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGATTN_TILE_KERNELS_INL_H
#undef LONGATTN_TILE_KERNELS_INL_H
#else
#define LONGATTN_TILE_KERNELS_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace longattn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr D kD;
HWY_INLINE Index lanes() { return static_cast<Index>(hn::Lanes(kD)); }

// Register tiles: 12 x 2 vectors of accumulators fill 24 of 32 registers and leave room for the
// operands; with 16 registers 6 x 2 does the same.
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3) || HWY_ARCH_ARM_A64
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kTileVectors = 2;
constexpr int kFlatVectors = kTileRows == 12 ? 4 : 2;  // of kFlatRows rows
// Rows of operands this far ahead are fetched into the L1 cache: the hardware does not follow
// values whose rows are longer than what a tile reads of them (Zen 4: 112 to 116 GFLOP/s).
constexpr Index kAhead = 12;

// What a word is, and how two of them are multiplied and added to a float32 accumulator.
struct OneFloat {
  template <class V>
  static HWY_INLINE V multiply_add(V a, V b, V sum) {
    return hn::MulAdd(a, b, sum);
  }
};
struct TwoBfloat16 {
  template <class V>
  static HWY_INLINE V low(V word) {
    const hn::DFromV<V> d;
    const hn::RebindToUnsigned<hn::DFromV<V>> du;
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::BitCast(du, word)));
  }
  template <class V>
  static HWY_INLINE V high(V word) {
    const hn::DFromV<V> d;
    const hn::RebindToUnsigned<hn::DFromV<V>> du;
    return hn::BitCast(d, hn::And(hn::BitCast(du, word), hn::Set(du, 0xFFFF0000u)));
  }
  template <class V>
  static HWY_INLINE V multiply_add(V a, V b, V sum) {
    return hn::MulAdd(high(a), high(b), hn::MulAdd(low(a), low(b), sum));
  }
};

struct NothingAhead {
  void fetch() {}
};

// c[r, :] (+)= sum_k a(r, k) * b[k, :] for kRows rows and kVectors vectors of columns, where
// a(r, k) = a[r * a_row + k * a_depth]. The tile stays in registers over the whole depth.
template <class Word, int kRows, int kVectors, class Tag = D, class Fetch>
HWY_INLINE void register_tile(Index depth, const float* HWY_RESTRICT a, Index a_row, Index a_depth,
                              const float* HWY_RESTRICT b, Index b_stride, float* HWY_RESTRICT c,
                              Index c_stride, bool accumulate, Fetch& ahead) {
  constexpr Tag d;
  constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(d));
  hn::Vec<Tag> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      sum[r][n] = accumulate ? hn::LoadU(d, c + r * c_stride + n * kLanes) : hn::Zero(d);
    }
  }
  for (Index k = 0; k < depth; ++k) {
    hn::Vec<Tag> column[kVectors];
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      column[n] = hn::LoadU(d, b + n * kLanes);
      __builtin_prefetch(b + kAhead * b_stride + n * kLanes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const hn::Vec<Tag> broadcast = hn::Set(d, a[r * a_row]);
#pragma GCC unroll 8
      for (int n = 0; n < kVectors; ++n) {
        sum[r][n] = Word::multiply_add(broadcast, column[n], sum[r][n]);
      }
    }
    ahead.fetch();
    a += a_depth;
    b += b_stride;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) hn::StoreU(sum[r][n], d, c + r * c_stride + n * kLanes);
  }
}

// Calls body(n, r) with n as a constant for pieces of n <= kMost rows at r, all but the last whole.
template <int kMost = kTileRows, class Body>
HWY_INLINE void for_row_pieces(Index rows, Body body) {
  Index r = 0;
  for (; rows - r >= kMost; r += kMost) body(std::integral_constant<int, kMost>{}, r);
  [&]<int... n>(std::integer_sequence<int, n...>) {
    ((rows - r == n + 1 ? body(std::integral_constant<int, n + 1>{}, r) : void()), ...);
  }
  (std::make_integer_sequence<int, kMost - 1>{});
}

template <class Word>
void scores(Index rows, Index depth, const float* strip, const float* panels, ColumnRange range,
            float* target, Index stride, bool accumulate, Ahead* to_fetch) {
  Ahead ahead = to_fetch != nullptr ? *to_fetch : Ahead();  // in registers
  const auto tile = [&](auto vectors, Index column) {
    const float* panel = panels + column / kPanel * depth * kPanel + column % kPanel;
    if constexpr (kTileRows == kStrip) {
      if (rows == kStrip &&
          stride == kScoreStride) {  // 24 addresses less to find: 1.5 % at depth 64
        register_tile<Word, kStrip, decltype(vectors)::value>(depth, strip, 1, kStrip, panel,
                                                              kPanel, target + column, kScoreStride,
                                                              accumulate, ahead);
        return;
      }
    }
    for_row_pieces(rows, [&](auto piece, Index r) {
      register_tile<Word, decltype(piece)::value, decltype(vectors)::value>(
          depth, strip + r, 1, rows, panel, kPanel, target + r * stride + column, stride,
          accumulate, ahead);
    });
  };
  constexpr Index kWidth = kTileVectors * static_cast<Index>(hn::MaxLanes(kD));
  if constexpr (kTileRows == kStrip && kWidth == kPanel) {
    if (rows == kTallStrip && stride == kScoreStride) {  // all accumulators for one vector
      for (Index column = range.begin; column < range.end; column += kHalfPanel) {
        register_tile<Word, kTallStrip, 1>(
            depth, strip, 1, kTallStrip,
            panels + column / kPanel * depth * kPanel + column % kPanel, kPanel, target + column,
            kScoreStride, accumulate, ahead);
      }
      if (to_fetch != nullptr) *to_fetch = ahead;
      return;
    }
  }
  for (Index column = range.begin; column < range.end; column += kWidth) {
    if constexpr (kWidth > kHalfPanel) {
      if (column % kPanel != 0 || range.end - column < kWidth) {
        tile(std::integral_constant<int, 1>{}, column);
        column -= kHalfPanel;
        continue;
      }
    }
    tile(std::integral_constant<int, kTileVectors>{}, column);
  }
  if (to_fetch != nullptr) *to_fetch = ahead;
}

template <class Word>
void accumulate(Index rows, Index depth, const float* probs, Index probs_stride,
                const float* values, Index values_stride, Index columns, float* target,
                Index target_stride) {
  // Where one register tile holds the strip, every value is read once. Otherwise in chunks of keys
  // whose values, times one group of columns, stay in the L1 cache for the next rows.
  const Index chunk = kTileRows >= kStrip ? depth : 128;
  for (Index first = 0; first < depth; first += chunk) {
    const Index here = std::min(chunk, depth - first);
    Index column = 0;
    NothingAhead nothing;
    const auto rows_from = [&](auto piece, auto vectors, auto tag, Index r) {
      register_tile<Word, decltype(piece)::value, decltype(vectors)::value, decltype(tag)>(
          here, probs + r * probs_stride + first, probs_stride, 1,
          values + first * values_stride + column, values_stride,
          target + r * target_stride + column, target_stride, true, nothing);
    };
    const auto group = [&](auto most_rows, auto vectors, auto tag) {
      for_row_pieces<decltype(most_rows)::value>(
          rows, [&](auto piece, Index r) { rows_from(piece, vectors, tag, r); });
      column += decltype(vectors)::value * static_cast<Index>(hn::MaxLanes(tag));
    };
    if (rows == 1) {  // one row alone has too few accumulators to hide the latency of an addition
      for (; columns - column >= 8 * lanes(); column += 8 * lanes()) {
        rows_from(std::integral_constant<int, 1>{}, std::integral_constant<int, 8>{}, kD, 0);
      }
    }
    const std::integral_constant<int, kTileRows> all;
    const std::integral_constant<int, 1> one;
    if (kFlatVectors > kTileVectors && rows <= kFlatRows) {
      while (columns - column >= kFlatVectors * lanes()) {
        group(std::integral_constant<int, kFlatRows>{}, std::integral_constant<int, kFlatVectors>{},
              kD);
      }
    }
    while (columns - column >= kTileVectors * lanes()) {
      group(all, std::integral_constant<int, kTileVectors>{}, kD);
    }
    while (columns - column >= lanes()) group(all, one, kD);
    if (column < columns) group(all, one, hn::CappedTag<float, kRowPad>());
  }
}

// 2^x (see the table in kernels.h): x = n + f with f in [-1/2, 1/2], 2^f by the degree-5 polynomial
// of least relative error among those that are exact at 0 (so that 2^0 is 1: a maximum that did not
// move rescales nothing), 2^n by its bits. Adding 1.5 * 2^23 rounds to an integer and
// leaves it in the low bits of the sum, here with the exponent's bias; n = -127 gives 0.
HWY_INLINE V fast_exp2(V x) {
  const V magic = hn::Set(kD, 12582912.0f + 127.0f);
  const V smallest = hn::Set(kD, -127.0f);
#if HWY_TARGET == HWY_SCALAR
  const V clamped = hn::IfThenElse(hn::Lt(x, smallest), smallest, x);
#else
  // The operand order keeps NaN: x86 Max returns its second operand when one is NaN.
  const V clamped = hn::Max(smallest, x);
#endif
  const V shifted = hn::Add(clamped, magic);
  const V f = hn::Sub(clamped, hn::Sub(shifted, magic));
  V p = hn::Set(kD, 0.0013264694882197971f);
  p = hn::MulAdd(p, f, hn::Set(kD, 0.0096715148317712118f));
  p = hn::MulAdd(p, f, hn::Set(kD, 0.055507338506581427f));
  p = hn::MulAdd(p, f, hn::Set(kD, 0.24022242037567495f));
  p = hn::MulAdd(p, f, hn::Set(kD, 0.69314697752438111f));
  p = hn::MulAdd(p, f, hn::Set(kD, 1.0f));
  const hn::RebindToUnsigned<D> du;
  const V power = hn::BitCast(kD, hn::ShiftLeft<23>(hn::BitCast(du, shifted)));
  return hn::Mul(p, power);
}

void exp2(const float* source, Index count, float* target) {
  Index n = 0;
  for (; n + lanes() <= count; n += lanes()) {
    hn::StoreU(fast_exp2(hn::LoadU(kD, source + n)), kD, target + n);
  }
  for (; n < count; ++n) target[n] = hn::GetLane(fast_exp2(hn::Set(kD, source[n])));
}

// Calls body(vectors, n) for pairs of vectors at n and for the single one that may be left.
template <class Body>
HWY_INLINE void for_vectors(Index count, Body body) {
  const Index step = lanes();
  Index n = 0;
  for (; n + 2 * step <= count; n += 2 * step) body(std::integral_constant<int, 2>{}, n);
  if (n < count) body(std::integral_constant<int, 1>{}, n);
}

// Largest of row[0..count).
HWY_INLINE float largest(const float* row, Index count) {
  V high[2] = {hn::LoadU(kD, row), hn::LoadU(kD, row)};
  for_vectors(count, [&](auto vectors, Index n) {
    for (int v = 0; v < decltype(vectors)::value; ++v) {
      high[v] = hn::Max(high[v], hn::LoadU(kD, row + n + v * lanes()));
    }
  });
  return hn::GetLane(hn::MaxOfLanes(kD, hn::Max(high[0], high[1])));
}

// row[n] = 2^(factor * row[n] - shift); returns their sum.
HWY_INLINE float exponentiate(OneFloat, float* row, Index count, V factor, V shift) {
  V sum[2] = {hn::Zero(kD), hn::Zero(kD)};
  for_vectors(count, [&](auto vectors, Index n) {
    V p[2];
    for (int v = 0; v < decltype(vectors)::value; ++v) {
      p[v] = fast_exp2(hn::MulSub(factor, hn::LoadU(kD, row + n + v * lanes()), shift));
    }
    for (int v = 0; v < decltype(vectors)::value; ++v) {
      hn::StoreU(p[v], kD, row + n + v * lanes());
      sum[v] = hn::Add(sum[v], p[v]);
    }
  });
  return hn::GetLane(hn::SumOfLanes(kD, hn::Add(sum[0], sum[1])));
}

// The same in pairs of bfloat16, rounded to nearest; the sum is of what was rounded, so that the
// weights of a row still sum to one. A word is written where both its scores have been read.
HWY_INLINE float exponentiate(TwoBfloat16, float* row, Index count, V factor, V shift) {
  const hn::RebindToUnsigned<D> du;
  const auto half = hn::Set(du, 0x8000u), upper = hn::Set(du, 0xFFFF0000u);
  V sum0 = hn::Zero(kD), sum1 = sum0;
  for (Index panel = 0; panel < count; panel += kPanel) {
    for (Index w = 0; w < kHalfPanel; w += lanes()) {
      const float* from = row + panel + w;
      const V p0 = fast_exp2(hn::MulSub(factor, hn::LoadU(kD, from), shift));
      const V p1 = fast_exp2(hn::MulSub(factor, hn::LoadU(kD, from + kHalfPanel), shift));
      const auto low = hn::And(hn::Add(hn::BitCast(du, p0), half), upper);
      const auto high = hn::And(hn::Add(hn::BitCast(du, p1), half), upper);
      const auto word = hn::Or(hn::ShiftRight<16>(low), high);
      hn::StoreU(hn::BitCast(kD, word), kD, row + panel / 2 + w);
      sum0 = hn::Add(sum0, hn::BitCast(kD, low));
      sum1 = hn::Add(sum1, hn::BitCast(kD, high));
    }
  }
  return hn::GetLane(hn::SumOfLanes(kD, hn::Add(sum0, sum1)));
}

template <class Word>
void softmax(Index rows, Index count, float factor, float* scores, Index stride, float* maximum,
             float* sum, float* correction) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  float high[kTallStrip], shift[kTallStrip], moved[kTallStrip] = {};
  for (Index r = 0; r < rows; ++r) high[r] = largest(scores + r * stride, count) * factor;
  for (Index r = 0; r < rows; ++r) {
    if (!(high[r] > maximum[r])) {
      high[r] = maximum[r];
    } else if (maximum[r] != kNothing) {
      moved[r] = maximum[r] - high[r];
    }
    maximum[r] = high[r];
    // While nothing is visible the maximum is -inf: subtracting 0 gives 2^-inf = 0, not NaN.
    shift[r] = high[r] == kNothing ? 0.0f : high[r];
  }
  exp2(moved, kTallStrip, moved);  // whole vectors: less work than fewer numbers one by one
  std::copy_n(moved, rows, correction);
  for (Index r = 0; r < rows; ++r) {
    sum[r] = sum[r] * correction[r] + exponentiate(Word(), scores + r * stride, count,
                                                   hn::Set(kD, factor), hn::Set(kD, shift[r]));
  }
}

}  // namespace longattn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
