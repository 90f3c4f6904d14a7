#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/variant.h"

namespace longattn::benchmarks {

// What is measured. Names are paths: GROUP/SHAPE, with shapes like
// float32/n:4096/h:8/d:128/causal:0/threads:2, so that a filter picks rows and columns alike.

/// Self-attention of one sequence: as many kv heads as heads.
Problem self_attention(Index len, Index heads, Index head_dim, bool causal,
                       DType dtype = DType::float32);
/// The float32 problems at which the engine is held against other programs.
std::vector<Problem> dense_problems();
std::string shape_name(const Problem& problem, int threads);
inline constexpr int kThreads[] = {1, 2};

/// ceiling/fma, ceiling/read and ceiling/matmul.
void register_ceilings();
/// engine/ (the variant blockwise), decode/ (one query, many keys), full/ (up to 4,096 tokens) and
/// matmul/.
void register_engine();
/// variant/NAME/ for every row of the table with its default options; some windows of longformer,
/// numbers of hashes of reformer and two ranks of ring; and the projections of linformer apart from
/// its attention.
void register_variants(std::span<const Variant* const> variants);

}  // namespace longattn::benchmarks
