// Compiled once per instruction set: Highway includes this file again for each of them.
#include "core/cross_polytope.h"

#include <cmath>
#include <limits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cross_polytope.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace longattn::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One vector a lane: the largest |product|, and the second largest, 0 at first, which the opposite
// of the largest never exceeds.
void decide(Index half, const float* HWY_RESTRICT products, const float* HWY_RESTRICT uncertainty,
            std::int32_t* HWY_RESTRICT buckets) {
  using D = hn::CappedTag<float, kHashVectors>;
  constexpr D d;
  const hn::RebindToSigned<D> di;
  const auto lanes = static_cast<Index>(hn::Lanes(d));
  const auto opposite = hn::Set(d, static_cast<float>(half));
  for (Index n = 0; n < kHashVectors; n += lanes) {
    auto largest = hn::Zero(d), second = hn::Zero(d), product = hn::Zero(d), at = hn::Zero(d);
    for (Index direction = 0; direction < half; ++direction) {
      const auto p = hn::LoadU(d, products + direction * kHashVectors + n);
      const auto size = hn::Abs(p);
      const auto larger = hn::Gt(size, largest);
      second = hn::Max(second, hn::Min(size, largest));
      largest = hn::Max(largest, size);
      product = hn::IfThenElse(larger, p, product);
      at = hn::IfThenElse(larger, hn::Set(d, static_cast<float>(direction)), at);
    }
    const auto bucket = hn::IfThenElse(hn::Lt(product, hn::Zero(d)), hn::Add(at, opposite), at);
    const auto decided = hn::Gt(hn::Sub(largest, second), hn::LoadU(d, uncertainty + n));
    hn::StoreU(hn::ConvertTo(di, hn::IfThenElse(decided, bucket, hn::Set(d, -1.0f))), di,
               buckets + n);
  }
}

DecideCrossPolytope table() { return decide; }

}  // namespace longattn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longattn {
HWY_EXPORT(table);

std::span<const DecideCrossPolytope> available_decide_cross_polytopes() {
  static const std::vector<DecideCrossPolytope> kAvailable = [] {
    kernels::available();  // it changes the chosen target too, and must not do so meanwhile
    std::vector<DecideCrossPolytope> functions;
    for (std::int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1) {
      hwy::GetChosenTarget().Update(left & -left);  // the lowest bit is the best target
      functions.push_back(HWY_DYNAMIC_DISPATCH(table)());
    }
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    return functions;
  }();
  return kAvailable;
}

std::int32_t cross_polytope(Index depth, const float* vector, const float* directions, Index half) {
  double up = 0, down = 0;  // largest product so far, and largest of the negated ones
  Index up_at = 0, down_at = 0;
  for (Index n = 0; n < half; ++n) {
    double sum = 0;
    for (Index k = 0; k < depth; ++k) {
      sum += static_cast<double>(vector[k]) * static_cast<double>(directions[k * half + n]);
    }
    if (n == 0 || sum > up) {
      up = sum;
      up_at = n;
    }
    if (n == 0 || -sum > down) {
      down = -sum;
      down_at = n;
    }
  }
  return static_cast<std::int32_t>(down > up ? half + down_at : up_at);
}

// sqrt(x + y) <= sqrt(x) + sqrt(y) makes it one step a vector.
CrossPolytopeUncertainty::CrossPolytopeUncertainty(Index depth, double longest)
    : per_norm_(std::numeric_limits<float>::infinity()), least_(per_norm_) {
  const auto n = static_cast<double>(depth);
  if (n >= 0x1p20) return;  // nothing is decided
  const double of_product = 2 * longest * n * 0x1p-24 / (1 - n * 0x1p-24);
  // The rest is for the roundings of the difference of two products, of this one, and of double.
  per_norm_ = static_cast<float>((1 + 0x1p-10) * of_product * std::sqrt(1 + n * 0x1p-23));
  least_ = static_cast<float>(2 * (of_product * std::sqrt(n * 0x1p-149) + n * 0x1p-148));
}

}  // namespace longattn
#endif
