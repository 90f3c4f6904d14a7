#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "core/types.h"

namespace longattn {

/// The cross-polytope hash (Terasawa & Tanaka 2007; Andoni et al. 2015) of a vector x:
///
///   h(x) = argmax of (x.r_0, .., x.r_{half-1}, -x.r_0, .., -x.r_{half-1}),  in [0, 2 half)
///
/// with ties to the lowest index, and 0 for a vector with NaN. `directions` is [depth][half].
/// Products are exact in double and sums are rounded in double in order of depth, so the bits are
/// the same on every machine. A positive power of two times x changes nothing, short of underflow.
std::int32_t cross_polytope(Index depth, const float* vector, const float* directions, Index half);

/// Vectors that are decided together: a panel of the kernels.
inline constexpr Index kHashVectors = 32;

/// The same hash of kHashVectors vectors, where products rounded in float32 decide it: writes the
/// bucket, or -1 where two directions are nearer to each other than `uncertainty` of the vector.
/// `products` is [half][kHashVectors]. NaN as an uncertainty decides nothing.
using DecideCrossPolytope = void (*)(Index half, const float* products, const float* uncertainty,
                                     std::int32_t* buckets);
/// Of every instruction set that this machine has, best first.
std::span<const DecideCrossPolytope> available_decide_cross_polytopes();
/// The first of them.
inline DecideCrossPolytope decide_cross_polytope() {
  return available_decide_cross_polytopes().front();
}

/// The uncertainty of a vector that makes what is decided right, from the float32 sum of squares of
/// its elements. A sum of n = depth float32 products, with fused multiply-add or without, is off by
/// at most n u / (1 - n u) |x||r|, u = 2^-24 (Higham, section 3.1), twice that between two of them,
/// and n 2^-149 each where it underflows; the hash's own sums are off by 2^-29 of that. The sum of
/// squares is off by as much: |x| <= sqrt(squares (1 + 2 n u) + n 2^-149).
class CrossPolytopeUncertainty {
 public:
  /// `longest`: at least the norm of every direction.
  CrossPolytopeUncertainty(Index depth, double longest);
  float operator()(float squares) const { return per_norm_ * std::sqrt(squares) + least_; }

 private:
  float per_norm_, least_;
};

}  // namespace longattn
