// Compiled once per instruction set, as core/kernels.cpp is.
#include "experiments/measure/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "experiments/measure/ceilings.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace longattn::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr D kD;

// Some 15 us of x = a x + b; returns the FLOP done.
double multiply_add(float* result) {
  constexpr Index kAccumulators = 12, kSteps = 4096;
  // The fixed point is 1, so nothing overflows and nothing becomes denormal.
  const V a = hn::Set(kD, 0.9999f), b = hn::Set(kD, 0.0001f);
  V x[kAccumulators];
#pragma GCC unroll 12
  for (int n = 0; n < kAccumulators; ++n) x[n] = hn::Set(kD, 1.0f + static_cast<float>(n));
  for (Index step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int n = 0; n < kAccumulators; ++n) x[n] = hn::MulAdd(x[n], a, b);
  }
#pragma GCC unroll 12
  for (int n = 1; n < kAccumulators; ++n) x[0] = hn::Add(x[0], x[n]);
  *result = hn::GetLane(hn::SumOfLanes(kD, x[0]));
  return 2.0 * kAccumulators * kSteps * static_cast<double>(hn::Lanes(kD));
}

// `count` is a multiple of 64.
float sum(const float* data, Index count) {
  const auto lanes = static_cast<Index>(hn::Lanes(kD));
  V s0 = hn::Zero(kD), s1 = s0, s2 = s0, s3 = s0;
  for (Index n = 0; n < count; n += 4 * lanes) {
    s0 = hn::Add(s0, hn::LoadU(kD, data + n));
    s1 = hn::Add(s1, hn::LoadU(kD, data + n + lanes));
    s2 = hn::Add(s2, hn::LoadU(kD, data + n + 2 * lanes));
    s3 = hn::Add(s3, hn::LoadU(kD, data + n + 3 * lanes));
  }
  return hn::GetLane(hn::SumOfLanes(kD, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

}  // namespace longattn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longattn {
HWY_EXPORT(multiply_add);
HWY_EXPORT(sum);

namespace {

using Clock = std::chrono::steady_clock;

volatile float sink;  // what is computed must look used

// Units per second of `slice`, called by every thread until the time is over.
template <class Slice>
double rate(ThreadArena& arena, double seconds, Slice slice) {
  std::vector<double> units(static_cast<size_t>(arena.threads()));
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  arena.for_each(arena.threads(), [&](Index, int worker) {
    double done = 0;
    while (elapsed() < seconds) done += slice();
    units[static_cast<size_t>(worker)] += done;
  });
  double total = 0;
  for (double u : units) total += u;
  return total / elapsed();
}

}  // namespace

double fma_ceiling(ThreadArena& arena, double seconds) {
  return rate(arena, seconds, [] {
    float result;
    const double flops = HWY_DYNAMIC_DISPATCH(multiply_add)(&result);
    sink = result;
    return flops;
  });
}

double read_ceiling(ThreadArena& arena, double seconds) {
  constexpr Index kChunk = Index{1} << 18, kChunks = 256;  // of 1 MiB
  static const Tensor array = [] {
    Tensor tensor({1, 1, kChunks, kChunk});
    // Untouched pages would all be one page of zeros.
    std::fill_n(tensor.floats(), tensor.size(), 1.0f);
    return tensor;
  }();
  static std::atomic<Index> next{0};
  return rate(arena, seconds, [&] {
    const float* chunk = array.floats() + next++ % kChunks * kChunk;
    sink = HWY_DYNAMIC_DISPATCH(sum)(chunk, kChunk);
    return static_cast<double>(kChunk * sizeof(float));
  });
}

}  // namespace longattn
#endif
