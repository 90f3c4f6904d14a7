#pragma once

#include <array>
#include <cstdint>

#include "core/types.h"

namespace longattn {

/// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random
/// numbers: as easy as 1, 2, 3", SC 2011, section 3.3).
///
/// A draw is a pure function of (seed, stream, counter); nothing is carried from draw to draw, so
/// neither the number of threads, nor the length of a tensor, nor what was drawn before can change
/// it. `stream` separates uses of one seed: compose it with make_stream from what the draw belongs
/// to (head, round, row, ...).
class CounterRandom {
 public:
  explicit CounterRandom(std::uint64_t seed, std::uint64_t stream = 0)
      : seed_(seed), stream_(stream) {}

  /// 128 random bits for this counter.
  std::array<std::uint32_t, 4> block(std::uint64_t counter) const;
  /// 64 random bits.
  std::uint64_t bits(std::uint64_t counter) const;
  /// Uniform on (0, 1): (k + 1/2) / 2^53.
  double uniform(std::uint64_t counter) const;
  /// Uniform integer in [0, bound), bound >= 1, without modulo bias beyond 2^-64 (multiply-shift).
  std::uint64_t below(std::uint64_t counter, std::uint64_t bound) const;
  /// Standard normal (Box-Muller; counters 2n and 2n+1 share one Philox block).
  double normal(std::uint64_t counter) const;
  /// {normal(2 * pair), normal(2 * pair + 1)} at half the cost.
  std::array<double, 2> normal_pair(std::uint64_t pair) const;

 private:
  std::uint64_t seed_, stream_;
};

/// Mixes up to four numbers into a stream id (SplitMix64 finaliser, applied after each).
std::uint64_t make_stream(std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0,
                          std::uint64_t d = 0);

/// The keyed pseudo-random permutation of {0, .., size-1}: element `n` of it, in O(1) expected time
/// without storing it (Feistel rounds over the enclosing power of four, cycle-walked; Black &
/// Rogaway 2002, method 3). More elements extend the same prefix. Over seeds every element, and
/// every pair of elements, is as likely as any other to within a few thousandths: four rounds
/// beyond 65,536 elements, more below (20 for four), where halves are narrow.
Index permuted(const CounterRandom& random, Index size, Index n);

}  // namespace longattn
