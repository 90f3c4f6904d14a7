// Compiled once per instruction set: Highway includes this file again for each of them.
#include "core/kernels.h"

#include <algorithm>
#include <limits>
#include <type_traits>

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

// Register tiles. 12 x 2 and 6 x 4 vectors of accumulators fill 24 of 32 registers and leave room
// for the operands; with 16 registers 6 x 2 does the same.
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3) || HWY_ARCH_ARM_A64
constexpr int kScoreRows = 12, kScoreVectors = 2, kValueRows = 6, kValueVectors = 4;
#else
constexpr int kScoreRows = 6, kScoreVectors = 2, kValueRows = 6, kValueVectors = 2;
#endif

// c[r, :] (+)= sum_k a(r, k) * b[k, :] for kRows rows and kVectors vectors of columns, where
// a(r, k) = a[r * a_row + k * a_depth]. The tile stays in registers over the whole depth.
template <int kRows, int kVectors>
HWY_INLINE void register_tile(Index depth, const float* HWY_RESTRICT a, Index a_row, Index a_depth,
                              const float* HWY_RESTRICT b, Index b_stride, float* HWY_RESTRICT c,
                              Index c_stride, bool accumulate) {
  V sum[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) {
      sum[r][n] = accumulate ? hn::LoadU(kD, c + r * c_stride + n * lanes()) : hn::Zero(kD);
    }
  }
  for (Index k = 0; k < depth; ++k) {
    V column[kVectors];
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) column[n] = hn::LoadU(kD, b + n * lanes());
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const V broadcast = hn::Set(kD, a[r * a_row]);
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n) sum[r][n] = hn::MulAdd(broadcast, column[n], sum[r][n]);
    }
    a += a_depth;
    b += b_stride;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) hn::StoreU(sum[r][n], kD, c + r * c_stride + n * lanes());
  }
}

// Splits rows 0..rows-1 into pieces for which a register tile exists, largest first.
template <int kLargest, class Body>
HWY_INLINE void for_row_pieces(Index rows, Body body) {
  Index r = 0;
  if constexpr (kLargest >= 12) {
    for (; rows - r >= 12; r += 12) body(std::integral_constant<int, 12>{}, r);
  }
  for (; rows - r >= 6; r += 6) body(std::integral_constant<int, 6>{}, r);
  for (; rows - r >= 3; r += 3) body(std::integral_constant<int, 3>{}, r);
  for (; rows - r >= 1; r += 1) body(std::integral_constant<int, 1>{}, r);
}

void scores(Index rows, Index depth, const float* strip, const float* panels, ColumnRange range,
            float* target, Index stride, bool accumulate) {
  const Index width = kScoreVectors * lanes();  // divides kPanel
  for (Index column = range.begin; column < range.end; column += width) {
    const float* panel = panels + column / kPanel * depth * kPanel + column % kPanel;
    for_row_pieces<kScoreRows>(rows, [&](auto piece, Index r) {
      register_tile<decltype(piece)::value, kScoreVectors>(depth, strip + r, 1, rows, panel, kPanel,
                                                           target + r * stride + column, stride,
                                                           accumulate);
    });
  }
}

void accumulate(Index rows, ColumnRange range, const float* probs, Index probs_stride,
                const float* values, Index values_stride, Index columns, float* target,
                Index target_stride) {
  // A chunk of keys whose values, times one group of columns, stay in the L1 cache while all rows
  // of the strip pass over them.
  constexpr Index kChunk = 128;
  for (Index first = range.begin; first < range.end; first += kChunk) {
    const Index depth = std::min(kChunk, range.end - first);
    Index column = 0;
    auto group = [&](auto vectors) {
      for_row_pieces<kValueRows>(rows, [&](auto piece, Index r) {
        register_tile<decltype(piece)::value, decltype(vectors)::value>(
            depth, probs + r * probs_stride + first, probs_stride, 1,
            values + first * values_stride + column, values_stride,
            target + r * target_stride + column, target_stride, true);
      });
      column += decltype(vectors)::value * lanes();
    };
    while (columns - column >= kValueVectors * lanes()) {
      group(std::integral_constant<int, kValueVectors>{});
    }
    while (columns - column >= 2 * lanes()) group(std::integral_constant<int, 2>{});
    while (column < columns) group(std::integral_constant<int, 1>{});
  }
}

// 2^x for x <= 0 or so (see the table in kernels.h): x = n + f with f in [-1/2, 1/2], 2^f by the
// degree-5 polynomial of least relative error (Remez), 2^n by its bits.
HWY_INLINE V fast_exp2(V x) {
  const V smallest = hn::Set(kD, -126.0f);
  // The operand order keeps NaN: x86 Max returns its second operand when one is NaN.
  const V clamped = hn::Max(smallest, x);
  const V whole = hn::Round(clamped);
  const V f = hn::Sub(clamped, whole);
  V p = hn::Set(kD, 0.0013276467799312258f);
  p = hn::MulAdd(p, f, hn::Set(kD, 0.009675541248286255f));
  p = hn::MulAdd(p, f, hn::Set(kD, 0.05550713286647641f));
  p = hn::MulAdd(p, f, hn::Set(kD, 0.24022119726572633f));
  p = hn::MulAdd(p, f, hn::Set(kD, 0.6931469670586844f));
  p = hn::MulAdd(p, f, hn::Set(kD, 1.0000000716541244f));
  const hn::RebindToSigned<D> di;
  const auto exponent = hn::Add(hn::ConvertTo(di, whole), hn::Set(di, 127));
  const V power = hn::BitCast(kD, hn::ShiftLeft<23>(exponent));
  // Not (x >= smallest), so that NaN passes through.
  return hn::IfThenZeroElse(hn::Lt(x, smallest), hn::Mul(p, power));
}

void exp2(const float* source, Index count, float* target) {
  Index n = 0;
  for (; n + lanes() <= count; n += lanes()) {
    hn::StoreU(fast_exp2(hn::LoadU(kD, source + n)), kD, target + n);
  }
  for (; n < count; ++n) target[n] = hn::GetLane(fast_exp2(hn::Set(kD, source[n])));
}

float softmax_row(float* scores, Index count, float* maximum, float* sum) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const Index step = lanes();
  V high0 = hn::Set(kD, kNothing), high1 = high0;
  for (Index n = 0; n < count; n += 2 * step) {  // kPanel is a multiple of 2 * lanes
    high0 = hn::Max(high0, hn::LoadU(kD, scores + n));
    high1 = hn::Max(high1, hn::LoadU(kD, scores + n + step));
  }
  const float tile_maximum = hn::GetLane(hn::MaxOfLanes(kD, hn::Max(high0, high1)));
  float factor = 1;
  if (tile_maximum > *maximum) {
    if (*maximum != kNothing) factor = hn::GetLane(fast_exp2(hn::Set(kD, *maximum - tile_maximum)));
    *maximum = tile_maximum;
  }
  // While nothing is visible the maximum is -inf: subtracting 0 gives 2^-inf = 0, not NaN.
  const V shift = hn::Set(kD, *maximum == kNothing ? 0.0f : *maximum);
  V sum0 = hn::Zero(kD), sum1 = sum0;
  for (Index n = 0; n < count; n += 2 * step) {
    const V p0 = fast_exp2(hn::Sub(hn::LoadU(kD, scores + n), shift));
    const V p1 = fast_exp2(hn::Sub(hn::LoadU(kD, scores + n + step), shift));
    hn::StoreU(p0, kD, scores + n);
    hn::StoreU(p1, kD, scores + n + step);
    sum0 = hn::Add(sum0, p0);
    sum1 = hn::Add(sum1, p1);
  }
  *sum = *sum * factor + hn::GetLane(hn::SumOfLanes(kD, hn::Add(sum0, sum1)));
  return factor;
}

void rescale(float* row, Index count, float factor) {
  const V f = hn::Set(kD, factor);
  for (Index n = 0; n < count; n += lanes()) {
    hn::StoreU(hn::Mul(hn::LoadU(kD, row + n), f), kD, row + n);
  }
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

// Transposes by blocks of 4 x 4, which every vector instruction set has.
void pack_panel(const float* const* rows, Index count, Index depth, float* panel) {
  Index c = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d4;
  const hn::RepartitionToWide<decltype(d4)> d2;
  for (; c + 4 <= count; c += 4) {
    Index k = 0;
    for (; k + 4 <= depth; k += 4) {
      const auto r0 = hn::LoadU(d4, rows[c] + k), r1 = hn::LoadU(d4, rows[c + 1] + k);
      const auto r2 = hn::LoadU(d4, rows[c + 2] + k), r3 = hn::LoadU(d4, rows[c + 3] + k);
      const auto low01 = hn::BitCast(d2, hn::InterleaveLower(d4, r0, r1));
      const auto low23 = hn::BitCast(d2, hn::InterleaveLower(d4, r2, r3));
      const auto high01 = hn::BitCast(d2, hn::InterleaveUpper(d4, r0, r1));
      const auto high23 = hn::BitCast(d2, hn::InterleaveUpper(d4, r2, r3));
      float* out = panel + k * kPanel + c;
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, low01, low23)), d4, out);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, low01, low23)), d4, out + kPanel);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, high01, high23)), d4, out + 2 * kPanel);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, high01, high23)), d4, out + 3 * kPanel);
    }
    for (; k < depth; ++k) {
      for (Index n = 0; n < 4; ++n) panel[k * kPanel + c + n] = rows[c + n][k];
    }
  }
#endif
  for (; c < kPanel; ++c) {
    for (Index k = 0; k < depth; ++k) panel[k * kPanel + c] = c < count ? rows[c][k] : 0.0f;
  }
}

Kernels table() {
  return {hwy::TargetName(HWY_TARGET),
          to_float,
          pack_panel,
          scores,
          accumulate,
          softmax_row,
          rescale,
          all_finite,
          exp2};
}

}  // namespace longattn::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longattn::kernels {
HWY_EXPORT(table);

const Kernels& best() {
  static const Kernels kBest = HWY_DYNAMIC_DISPATCH(table)();
  return kBest;
}

}  // namespace longattn::kernels
#endif
