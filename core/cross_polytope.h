#pragma once

#include <cstdint>
#include <span>

#include "core/types.h"

namespace longattn {

/// Vectors hashed at a time; their elements stand beside each other.
inline constexpr Index kHashVectors = 8;

/// The cross-polytope hash (Terasawa & Tanaka 2007; Andoni et al. 2015) of kHashVectors vectors x
/// at once:
///
///   h(x) = argmax of (x.r_0, .., x.r_{half-1}, -x.r_0, .., -x.r_{half-1}),  in [0, 2 half)
///
/// with ties to the lowest index, and 0 for a vector with NaN. `vectors` is [depth][kHashVectors],
/// `directions` [depth][half], both float32 numbers held as double: products are then exact, sums
/// are rounded in double in order of depth, and so the bits are the same on every instruction set,
/// with fused multiply-add and without. A positive power of two times x changes nothing, short of
/// underflow. Writes kHashVectors buckets.
using CrossPolytope = void (*)(Index depth, const double* vectors, const double* directions,
                               Index half, std::int32_t* buckets);

/// Of every instruction set that this machine has, best first.
std::span<const CrossPolytope> available_cross_polytopes();
/// The first of them.
inline CrossPolytope cross_polytope() { return available_cross_polytopes().front(); }

}  // namespace longattn
