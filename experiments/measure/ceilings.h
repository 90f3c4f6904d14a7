#pragma once

#include "core/parallel.h"

namespace longattn {

/// FLOP/s of float32 multiply-adds between registers, all threads of the arena together: what no
/// kernel can exceed. 12 independent accumulators hide the latency of the FMA units; on the
/// instruction set that the kernels use too. Takes about `seconds`.
double fma_ceiling(ThreadArena& arena, double seconds = 0.015);

/// Bytes/s read from main memory, all threads of the arena together. Walks on through 256 MiB from
/// call to call, so that no cache of less than that holds what is read. Takes about `seconds`.
double read_ceiling(ThreadArena& arena, double seconds = 0.015);

}  // namespace longattn
