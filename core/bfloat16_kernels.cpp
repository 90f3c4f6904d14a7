// Tiles by the bfloat16 dot product of AVX512_BF16, which Debian's Highway only emulates: the one
// file with intrinsics. Compiled for every x86-64, chosen at run time.
#include "core/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <type_traits>
#include <utility>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bf16"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bf16")
#endif

namespace longattn::kernels {
namespace {

constexpr Index kLanes = 16;
constexpr Index kAhead = 12;  // as in kernels.cpp

inline __m512bh words(__m512i bits) { return reinterpret_cast<__m512bh>(bits); }

struct NothingAhead {
  void fetch() {}
};

// As register_tile of kernels.cpp.
template <int kRows, int kVectors, class Fetch>
inline void register_tile(Index depth, const float* a, Index a_row, Index a_depth, const float* b,
                          Index b_stride, float* c, Index c_stride, bool accumulate, Fetch& ahead) {
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int n = 0; n < kVectors; ++n) {
      sum[r][n] = accumulate ? _mm512_loadu_ps(c + r * c_stride + n * kLanes) : _mm512_setzero_ps();
    }
  }
  for (Index k = 0; k < depth; ++k) {
    __m512bh column[kVectors];
#pragma GCC unroll 2
    for (int n = 0; n < kVectors; ++n) {
      column[n] = words(_mm512_loadu_si512(b + n * kLanes));
      __builtin_prefetch(b + kAhead * b_stride + n * kLanes);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const __m512bh broadcast = words(_mm512_castps_si512(_mm512_set1_ps(a[r * a_row])));
#pragma GCC unroll 2
      for (int n = 0; n < kVectors; ++n) {
        sum[r][n] = _mm512_dpbf16_ps(sum[r][n], broadcast, column[n]);
      }
    }
    ahead.fetch();
    a += a_depth;
    b += b_stride;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int n = 0; n < kVectors; ++n) _mm512_storeu_ps(c + r * c_stride + n * kLanes, sum[r][n]);
  }
}

template <int kVectors, class Fetch>
inline void tile_of_rows(Index rows, Index depth, const float* a, Index a_row, Index a_depth,
                         const float* b, Index b_stride, float* c, Index c_stride, bool accumulate,
                         Fetch& ahead) {
  const auto tile = [&](auto piece) {
    register_tile<decltype(piece)::value, kVectors>(depth, a, a_row, a_depth, b, b_stride, c,
                                                    c_stride, accumulate, ahead);
  };
  [&]<int... n>(std::integer_sequence<int, n...>) {
    ((rows == n + 1 ? tile(std::integral_constant<int, n + 1>{}) : void()), ...);
  }
  (std::make_integer_sequence<int, kStrip>{});
}

void scores(Index rows, Index depth, const float* strip, const float* panels, ColumnRange range,
            float* target, Index stride, bool accumulate, Ahead* to_fetch) {
  Ahead ahead = to_fetch != nullptr ? *to_fetch : Ahead();
  for (Index column = range.begin; column < range.end; column += kPanel) {
    tile_of_rows<2>(rows, depth, strip, 1, rows, panels + column * depth, kPanel, target + column,
                    stride, accumulate, ahead);
  }
  if (to_fetch != nullptr) *to_fetch = ahead;
}

void accumulate(Index rows, Index depth, const float* probs, Index probs_stride,
                const float* values, Index values_stride, Index columns, float* target,
                Index target_stride) {
  Index column = 0;
  NothingAhead nothing;
  for (; columns - column >= 2 * kLanes; column += 2 * kLanes) {
    tile_of_rows<2>(rows, depth, probs, probs_stride, 1, values + column, values_stride,
                    target + column, target_stride, true, nothing);
  }
  if (column < columns) {
    tile_of_rows<1>(rows, depth, probs, probs_stride, 1, values + column, values_stride,
                    target + column, target_stride, true, nothing);
  }
}

}  // namespace
}  // namespace longattn::kernels

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace longattn::kernels {

TileKernels with_dot_products(const TileKernels& portable) {
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bf16")) return portable;
  return {2, scores, portable.softmax, accumulate};
}

}  // namespace longattn::kernels

#else

namespace longattn::kernels {
TileKernels with_dot_products(const TileKernels& portable) { return portable; }
}  // namespace longattn::kernels

#endif
