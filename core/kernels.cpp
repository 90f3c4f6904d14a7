// Compiled once per instruction set: Highway includes this file again for each of them.
#include "core/kernels.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

// On x86: scalar, SSE4, AVX2, AVX-512; the ones in between would add build time without a machine
// that profits.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/tensor.h"

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

// c[r, :] (+)= sum_k a(r, k) * b[k, :] for kRows rows and kVectors vectors of columns, where
// a(r, k) = a[r * a_row + k * a_depth]. The tile stays in registers over the whole depth.
template <class Word, int kRows, int kVectors, class Tag = D>
HWY_INLINE void register_tile(Index depth, const float* HWY_RESTRICT a, Index a_row, Index a_depth,
                              const float* HWY_RESTRICT b, Index b_stride, float* HWY_RESTRICT c,
                              Index c_stride, bool accumulate) {
  constexpr Tag d;
  constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(d));
  hn::Vec<Tag> sum[kRows][kVectors];
#pragma GCC unroll 12
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
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const hn::Vec<Tag> broadcast = hn::Set(d, a[r * a_row]);
#pragma GCC unroll 8
      for (int n = 0; n < kVectors; ++n) {
        sum[r][n] = Word::multiply_add(broadcast, column[n], sum[r][n]);
      }
    }
    a += a_depth;
    b += b_stride;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) hn::StoreU(sum[r][n], d, c + r * c_stride + n * kLanes);
  }
}

// Splits rows 0..rows-1 into pieces for which a register tile exists, largest first.
template <class Body>
HWY_INLINE void for_row_pieces(Index rows, Body body) {
  Index r = 0;
  if constexpr (kTileRows >= 12) {
    for (; rows - r >= 12; r += 12) body(std::integral_constant<int, 12>{}, r);
  }
  for (; rows - r >= 6; r += 6) body(std::integral_constant<int, 6>{}, r);
  for (; rows - r >= 3; r += 3) body(std::integral_constant<int, 3>{}, r);
  for (; rows - r >= 1; r += 1) body(std::integral_constant<int, 1>{}, r);
}

template <class Word>
void scores(Index rows, Index depth, const float* strip, const float* panels, ColumnRange range,
            float* target, Index stride, bool accumulate) {
  const auto tile = [&](auto vectors, Index column) {
    const float* panel = panels + column / kPanel * depth * kPanel + column % kPanel;
    if constexpr (kTileRows == kStrip) {
      if (rows == kStrip &&
          stride == kScoreStride) {  // 24 addresses less to find: 1.5 % at depth 64
        register_tile<Word, kStrip, decltype(vectors)::value>(
            depth, strip, 1, kStrip, panel, kPanel, target + column, kScoreStride, accumulate);
        return;
      }
    }
    for_row_pieces(rows, [&](auto piece, Index r) {
      register_tile<Word, decltype(piece)::value, decltype(vectors)::value>(
          depth, strip + r, 1, rows, panel, kPanel, target + r * stride + column, stride,
          accumulate);
    });
  };
  constexpr Index kWidth = kTileVectors * static_cast<Index>(hn::MaxLanes(kD));
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
    auto group = [&](auto vectors, auto tag) {
      constexpr int kVectors = decltype(vectors)::value;
      for_row_pieces(rows, [&](auto piece, Index r) {
        register_tile<Word, decltype(piece)::value, kVectors, decltype(tag)>(
            here, probs + r * probs_stride + first, probs_stride, 1,
            values + first * values_stride + column, values_stride,
            target + r * target_stride + column, target_stride, true);
      });
      column += kVectors * static_cast<Index>(hn::MaxLanes(tag));
    };
    if (rows == 1) {  // one row alone has too few accumulators to hide the latency of an addition
      while (columns - column >= 8 * lanes()) group(std::integral_constant<int, 8>{}, kD);
    }
    while (columns - column >= kTileVectors * lanes()) {
      group(std::integral_constant<int, kTileVectors>{}, kD);
    }
    while (columns - column >= lanes()) group(std::integral_constant<int, 1>{}, kD);
    if (column < columns) group(std::integral_constant<int, 1>{}, hn::CappedTag<float, kRowPad>());
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
  float high[kStrip], shift[kStrip];
  for (Index r = 0; r < rows; ++r) high[r] = largest(scores + r * stride, count) * factor;
  for (Index r = 0; r < rows; ++r) {
    correction[r] = 0;
    if (!(high[r] > maximum[r])) {
      high[r] = maximum[r];
    } else if (maximum[r] != kNothing) {
      correction[r] = maximum[r] - high[r];
    }
    maximum[r] = high[r];
    // While nothing is visible the maximum is -inf: subtracting 0 gives 2^-inf = 0, not NaN.
    shift[r] = high[r] == kNothing ? 0.0f : high[r];
  }
  exp2(correction, rows, correction);
  for (Index r = 0; r < rows; ++r) {
    sum[r] = sum[r] * correction[r] + exponentiate(Word(), scores + r * stride, count,
                                                   hn::Set(kD, factor), hn::Set(kD, shift[r]));
  }
}

void scale(const float* source, Index count, float factor, float* target) {
  const V f = hn::Set(kD, factor);
  Index n = 0;
  for (; n + lanes() <= count; n += lanes()) {
    hn::StoreU(hn::Mul(hn::LoadU(kD, source + n), f), kD, target + n);
  }
  for (; n < count; ++n) target[n] = source[n] * factor;
}

bool all_finite(const float* row, Index count) {
  // x - x is zero for finite x and NaN otherwise; NaN is sticky in the sum.
  V difference = hn::Zero(kD);
  Index n = 0;
  for (; n + lanes() <= count; n += lanes()) {
    const V x = hn::LoadU(kD, row + n);
    difference = hn::Add(difference, hn::Sub(x, x));
  }
  float rest = hn::GetLane(hn::SumOfLanes(kD, difference));
  for (; n < count; ++n) rest += row[n] - row[n];
  return rest == 0;
}

void to_float(DType dtype, const void* source, Index count, float* target) {
  Index n = 0;
  if (dtype == DType::bfloat16) {
    const hn::Rebind<std::uint16_t, D> d16;
    const hn::RebindToUnsigned<D> d32;
    const auto* bits = static_cast<const std::uint16_t*>(source);
    for (; n + lanes() <= count; n += lanes()) {
      const auto wide = hn::PromoteTo(d32, hn::LoadU(d16, bits + n));
      hn::StoreU(hn::BitCast(kD, hn::ShiftLeft<16>(wide)), kD, target + n);
    }
  } else if (dtype == DType::float16) {
    const hn::Rebind<hwy::float16_t, D> d16;
    const auto* halves = static_cast<const hwy::float16_t*>(source);
    for (; n + lanes() <= count; n += lanes()) {
      hn::StoreU(hn::PromoteTo(kD, hn::LoadU(d16, halves + n)), kD, target + n);
    }
  }
  load_floats(dtype, static_cast<const char*>(source) + n * byte_size(dtype), count - n,
              target + n);
}

void pair_rows(const void* low, const void* high, Index count, float* target) {
  const auto* l = static_cast<const std::uint16_t*>(low);
  const auto* h = static_cast<const std::uint16_t*>(high);
  auto* words = reinterpret_cast<std::uint32_t*>(target);
  const hn::Rebind<std::uint16_t, D> d16;
  const hn::RebindToUnsigned<D> d32;
  Index n = 0;
  for (; n + lanes() <= count; n += lanes()) {
    auto word = hn::Zero(d32);
    if (l != nullptr) word = hn::PromoteTo(d32, hn::LoadU(d16, l + n));
    if (h != nullptr) {
      word = hn::Or(word, hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, h + n))));
    }
    hn::StoreU(hn::BitCast(kD, word), kD, target + n);
  }
  for (; n < count; ++n) {
    const std::uint32_t word =
        (l != nullptr ? l[n] : 0u) | (h != nullptr ? static_cast<std::uint32_t>(h[n]) << 16 : 0u);
    std::memcpy(words + n, &word, sizeof word);
  }
}

template <int kRows>
HWY_INLINE void dots_of(Index depth, const float* queries, Index query_stride, const float* key,
                        float* scores, Index stride) {
  V even[kRows], odd[kRows];
  for (int r = 0; r < kRows; ++r) even[r] = odd[r] = hn::Zero(kD);
  Index k = 0;
  for (; k + 2 * lanes() <= depth; k += 2 * lanes()) {
    const V k0 = hn::LoadU(kD, key + k), k1 = hn::LoadU(kD, key + k + lanes());
    for (int r = 0; r < kRows; ++r) {
      const float* q = queries + r * query_stride + k;
      even[r] = hn::MulAdd(k0, hn::LoadU(kD, q), even[r]);
      odd[r] = hn::MulAdd(k1, hn::LoadU(kD, q + lanes()), odd[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    float sum = hn::GetLane(hn::SumOfLanes(kD, hn::Add(even[r], odd[r])));
    for (Index rest = k; rest < depth; ++rest) sum += key[rest] * queries[r * query_stride + rest];
    scores[r * stride] = sum;
  }
}

void dots(Index rows, Index depth, const float* queries, Index query_stride,
          const float* const* keys, Index count, float* scores, Index stride) {
  for (Index n = 0; n < count; ++n) {
    const auto pieces = [&](auto piece, Index r) {
      dots_of<decltype(piece)::value>(depth, queries + r * query_stride, query_stride, keys[n],
                                      scores + r * stride + n, stride);
    };
    if (rows == kFewRows) {
      pieces(std::integral_constant<int, kFewRows>{}, 0);
    } else {
      for_row_pieces(rows, pieces);
    }
  }
}

// out[k * stride + n] = factor * rows[n][k] for four rows, by blocks of 4 x 4, which every vector
// instruction set has.
HWY_INLINE void transpose_four(const float* const* rows, Index depth, float factor, float* out,
                               Index stride) {
  Index k = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d4;
  const hn::RepartitionToWide<decltype(d4)> d2;
  const auto f = hn::Set(d4, factor);
  for (; k + 4 <= depth; k += 4) {
    const auto r0 = hn::Mul(f, hn::LoadU(d4, rows[0] + k));
    const auto r1 = hn::Mul(f, hn::LoadU(d4, rows[1] + k));
    const auto r2 = hn::Mul(f, hn::LoadU(d4, rows[2] + k));
    const auto r3 = hn::Mul(f, hn::LoadU(d4, rows[3] + k));
    const auto low01 = hn::BitCast(d2, hn::InterleaveLower(d4, r0, r1));
    const auto low23 = hn::BitCast(d2, hn::InterleaveLower(d4, r2, r3));
    const auto high01 = hn::BitCast(d2, hn::InterleaveUpper(d4, r0, r1));
    const auto high23 = hn::BitCast(d2, hn::InterleaveUpper(d4, r2, r3));
    float* to = out + k * stride;
    hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, low01, low23)), d4, to);
    hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, low01, low23)), d4, to + stride);
    hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, high01, high23)), d4, to + 2 * stride);
    hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, high01, high23)), d4, to + 3 * stride);
  }
#endif
  for (; k < depth; ++k) {
    for (Index n = 0; n < 4; ++n) out[k * stride + n] = factor * rows[n][k];
  }
}

void pack_panel(const float* const* rows, Index count, Index depth, float* panel) {
  Index c = 0;
  for (; c + 4 <= count; c += 4) transpose_four(rows + c, depth, 1.0f, panel + c, kPanel);
  for (; c < kPanel; ++c) {
    for (Index k = 0; k < depth; ++k) panel[k * kPanel + c] = c < count ? rows[c][k] : 0.0f;
  }
}

void pack_strip(const float* const* rows, Index count, Index depth, float factor, float* strip) {
  Index r = 0;
  for (; r + 4 <= count; r += 4) transpose_four(rows + r, depth, factor, strip + r, count);
  for (; r < count; ++r) {
    for (Index k = 0; k < depth; ++k) strip[k * count + r] = factor * rows[r][k];
  }
}

template <class Word>
TileKernels tiles(Index pair) {
  return {pair, scores<Word>, softmax<Word>, accumulate<Word>};
}

Kernels table() {
  return {hwy::TargetName(HWY_TARGET),
          tiles<OneFloat>(1),
          tiles<TwoBfloat16>(2),
          to_float,
          pack_panel,
          pack_strip,
          pair_rows,
          dots,
          scale,
          all_finite,
          exp2};
}

}  // namespace longattn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longattn::kernels {
HWY_EXPORT(table);

std::span<const Kernels> available() {
  static const std::vector<Kernels> kAvailable = [] {
    std::vector<Kernels> kernels;
    for (std::int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
      hwy::GetChosenTarget().Update(left & -left);  // the lowest bit is the best target
      kernels.push_back(HWY_DYNAMIC_DISPATCH(table)());
    }
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    Kernels best = kernels.front();
    best.bfloat16 = with_dot_products(best.bfloat16);
    kernels.insert(kernels.begin(), best);
    return kernels;
  }();
  return kAvailable;
}

}  // namespace longattn::kernels
#endif
