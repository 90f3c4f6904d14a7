// Compiled once per instruction set: Highway includes this file again for each of them.
#include "core/cross_polytope.h"

#include <algorithm>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cross_polytope.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace longattn::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<double, kHashVectors>;
using V = hn::Vec<D>;
constexpr D kD;
constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(kD));
constexpr int kParts = static_cast<int>(kHashVectors / kLanes);  // of the vectors hashed together
// So many directions at a time that the sums stay in registers.
constexpr int kTile = kParts == 1 ? 8 : kParts == 2 ? 4 : 2;

// Of the vectors so far: the largest product and its direction, and the same of the negated ones.
struct Best {
  V up[kParts], up_at[kParts], down[kParts], down_at[kParts];
};

HWY_INLINE void keep_larger(V product, V at, V& largest, V& largest_at) {
  const auto larger = hn::Gt(product, largest);
  largest = hn::IfThenElse(larger, product, largest);
  largest_at = hn::IfThenElse(larger, at, largest_at);
}

template <int kDirections>
HWY_INLINE void take(Index depth, const double* HWY_RESTRICT vectors,
                     const double* HWY_RESTRICT directions, Index half, Index first, Best& best) {
  V sum[kDirections][kParts];
#pragma GCC unroll 8
  for (int n = 0; n < kDirections; ++n) {
#pragma GCC unroll 8
    for (int part = 0; part < kParts; ++part) sum[n][part] = hn::Zero(kD);
  }
  for (Index k = 0; k < depth; ++k) {
    V x[kParts];
#pragma GCC unroll 8
    for (int part = 0; part < kParts; ++part) {
      x[part] = hn::LoadU(kD, vectors + k * kHashVectors + part * kLanes);
    }
#pragma GCC unroll 8
    for (int n = 0; n < kDirections; ++n) {
      const V direction = hn::Set(kD, directions[k * half + first + n]);
#pragma GCC unroll 8
      for (int part = 0; part < kParts; ++part) {
        sum[n][part] = hn::MulAdd(x[part], direction, sum[n][part]);
      }
    }
  }
#pragma GCC unroll 8
  for (int n = 0; n < kDirections; ++n) {
    const V at = hn::Set(kD, static_cast<double>(first + n));
#pragma GCC unroll 8
    for (int part = 0; part < kParts; ++part) {
      if (first + n == 0) {
        best.up[part] = sum[n][part];
        best.down[part] = hn::Neg(sum[n][part]);
        best.up_at[part] = best.down_at[part] = at;
        continue;
      }
      keep_larger(sum[n][part], at, best.up[part], best.up_at[part]);
      keep_larger(hn::Neg(sum[n][part]), at, best.down[part], best.down_at[part]);
    }
  }
}

void hash(Index depth, const double* HWY_RESTRICT vectors, const double* HWY_RESTRICT directions,
          Index half, std::int32_t* HWY_RESTRICT buckets) {
  Best best;
  Index first = 0;
  for (; first + kTile <= half; first += kTile) {
    take<kTile>(depth, vectors, directions, half, first, best);
  }
  for (; first < half; ++first) take<1>(depth, vectors, directions, half, first, best);
  for (int part = 0; part < kParts; ++part) {
    const auto negated = hn::Gt(best.down[part], best.up[part]);
    const V shifted = hn::Add(best.down_at[part], hn::Set(kD, static_cast<double>(half)));
    double bucket[kLanes];
    hn::StoreU(hn::IfThenElse(negated, shifted, best.up_at[part]), kD, bucket);
    for (Index n = 0; n < kLanes; ++n) {
      buckets[part * kLanes + n] = static_cast<std::int32_t>(bucket[n]);
    }
  }
}

CrossPolytope table() { return hash; }

}  // namespace longattn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longattn {
HWY_EXPORT(table);

std::span<const CrossPolytope> available_cross_polytopes() {
  static const std::vector<CrossPolytope> kAvailable = [] {
    kernels::available();  // it changes the chosen target too, and must not do so meanwhile
    std::vector<CrossPolytope> hashes;
    for (std::int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
      hwy::GetChosenTarget().Update(left & -left);  // the lowest bit is the best target
      hashes.push_back(HWY_DYNAMIC_DISPATCH(table)());
    }
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    return hashes;
  }();
  return kAvailable;
}

}  // namespace longattn
#endif
