// Compiled once per instruction set: Highway includes this file again for each of them.
#include "core/kernels.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numbers>
#include <type_traits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/tensor.h"
#include "core/tile_kernels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longattn::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void scale(const float* source, Index count, float factor, float* target) {
  const V f = hn::Set(kD, factor);
  Index n = 0;
  for (; n + lanes() <= count; n += lanes()) {
    hn::StoreU(hn::Mul(hn::LoadU(kD, source + n), f), kD, target + n);
  }
  for (; n < count; ++n) target[n] = source[n] * factor;
}

void hide(float* row, ColumnRange range, ColumnRange seen, const std::uint64_t* bits,
          const float* bias) {
  const V nothing = hn::Set(kD, -std::numeric_limits<float>::infinity());
  const auto first = [](Index count) {
    return hn::FirstN(kD, static_cast<size_t>(std::clamp(count, Index{0}, lanes())));
  };
  if (bits == nullptr && bias == nullptr) {
    for (Index c = range.begin; c < std::min(seen.begin, range.end); c += lanes()) {
      const V kept = hn::LoadU(kD, row + c);
      hn::StoreU(hn::IfThenElse(first(seen.begin - c), nothing, kept), kD, row + c);
    }
    const Index inside = std::max(seen.end - range.begin, Index{0}) / lanes() * lanes();
    for (Index c = range.begin + inside; c < range.end; c += lanes()) {
      const V kept = hn::LoadU(kD, row + c);
      hn::StoreU(hn::IfThenElse(first(seen.end - c), kept, nothing), kD, row + c);
    }
    return;
  }
  for (Index c = range.begin; c < range.end; c += lanes()) {
    V score = hn::LoadU(kD, row + c);
    if (bias != nullptr) {
      score = hn::MulAdd(hn::LoadU(kD, bias + c), hn::Set(kD, std::numbers::log2e_v<float>), score);
    }
    if (bits != nullptr) {
      const std::uint64_t here = bits[c / 64] >> (c % 64);
      std::uint8_t bytes[8];
      std::memcpy(bytes, &here, sizeof here);
      score = hn::IfThenElse(hn::LoadMaskBits(kD, bytes), score, nothing);
    }
    score = hn::IfThenElse(first(seen.begin - c), nothing, score);
    hn::StoreU(hn::IfThenElse(first(seen.end - c), score, nothing), kD, row + c);
  }
}

bool all_finite(const float* row, Index count) {
  // x - x is zero for finite x and NaN otherwise; NaN is sticky in the sum.
  V difference[4] = {hn::Zero(kD), hn::Zero(kD), hn::Zero(kD), hn::Zero(kD)};
  Index n = 0;
  for (; n + 4 * lanes() <= count; n += 4 * lanes()) {
    for (int v = 0; v < 4; ++v) {
      const V x = hn::LoadU(kD, row + n + v * lanes());
      difference[v] = hn::Add(difference[v], hn::Sub(x, x));
    }
  }
  float rest = hn::GetLane(hn::SumOfLanes(
      kD, hn::Add(hn::Add(difference[0], difference[1]), hn::Add(difference[2], difference[3]))));
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
    for_row_pieces<kFewRows>(rows, pieces);
  }
}

#if HWY_TARGET != HWY_SCALAR
// Columns k .. k+3 of every fourth row of 4 * kBlocks, side by side.
template <int kBlocks>
HWY_INLINE hn::Vec<hn::FixedTag<float, 4 * kBlocks>> four_columns(const float* const* rows,
                                                                  Index k) {
  const hn::FixedTag<float, 4 * kBlocks> d;
  if constexpr (kBlocks == 1) {
    return hn::LoadU(d, rows[0] + k);
  } else {
    return hn::Combine(d, four_columns<kBlocks / 2>(rows + 2 * kBlocks, k),
                       four_columns<kBlocks / 2>(rows, k));
  }
}
#endif

// out[k * stride + n] = factor * rows[n][k] for 4 * kBlocks rows, by blocks of 4 x 4: what every
// vector instruction set transposes without crossing its lanes of 16 bytes.
template <int kBlocks>
HWY_INLINE void transpose(const float* const* rows, Index depth, float factor, float* out,
                          Index stride) {
  Index k = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4 * kBlocks> d;
  const hn::RepartitionToWide<decltype(d)> wide;
  const auto f = hn::Set(d, factor);
  for (; k + 4 <= depth; k += 4) {
    const auto r0 = hn::Mul(f, four_columns<kBlocks>(rows, k));
    const auto r1 = hn::Mul(f, four_columns<kBlocks>(rows + 1, k));
    const auto r2 = hn::Mul(f, four_columns<kBlocks>(rows + 2, k));
    const auto r3 = hn::Mul(f, four_columns<kBlocks>(rows + 3, k));
    const auto low01 = hn::BitCast(wide, hn::InterleaveLower(d, r0, r1));
    const auto low23 = hn::BitCast(wide, hn::InterleaveLower(d, r2, r3));
    const auto high01 = hn::BitCast(wide, hn::InterleaveUpper(d, r0, r1));
    const auto high23 = hn::BitCast(wide, hn::InterleaveUpper(d, r2, r3));
    float* to = out + k * stride;
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, low01, low23)), d, to);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, low01, low23)), d, to + stride);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, high01, high23)), d, to + 2 * stride);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, high01, high23)), d, to + 3 * stride);
  }
#endif
  for (; k < depth; ++k) {
    for (Index n = 0; n < 4 * kBlocks; ++n) out[k * stride + n] = factor * rows[n][k];
  }
}

// The same for as many of `count` rows as come in fours; returns how many.
HWY_INLINE Index transpose_fours(const float* const* rows, Index count, Index depth, float factor,
                                 float* out, Index stride) {
  constexpr int kMost = static_cast<int>(hn::MaxLanes(kD)) / 4;
  Index n = 0;
  const auto blocks = [&](auto constant) {
    constexpr int kBlocks = decltype(constant)::value;
    if constexpr (kBlocks <= std::max(kMost, 1)) {
      for (; n + 4 * kBlocks <= count; n += 4 * kBlocks) {
        transpose<kBlocks>(rows + n, depth, factor, out + n, stride);
      }
    }
  };
  blocks(std::integral_constant<int, 4>{});
  blocks(std::integral_constant<int, 2>{});
  blocks(std::integral_constant<int, 1>{});
  return n;
}

void pack_panel(const float* const* rows, Index count, Index depth, float* panel) {
  for (Index c = transpose_fours(rows, count, depth, 1.0f, panel, kPanel); c < kPanel; ++c) {
    for (Index k = 0; k < depth; ++k) panel[k * kPanel + c] = c < count ? rows[c][k] : 0.0f;
  }
}

void pack_strip(const float* const* rows, Index count, Index depth, float factor, float* strip) {
  for (Index r = transpose_fours(rows, count, depth, factor, strip, count); r < count; ++r) {
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
          hide,
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
