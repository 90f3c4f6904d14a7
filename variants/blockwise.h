#pragma once

#include "core/variant.h"

namespace longattn {

/// Exact attention in memory linear in the length: the score matrix exists only tile by tile.
///
///   O = softmax(scale Q K^T + mask) V, with the softmax computed online
///
/// Over tiles of keys a row carries the maximum m of its scores s (in units of log 2), their sum l
/// and the weighed values acc:
///
///   m' = max(m, max s),   l' = 2^(m - m') l + sum 2^(s - m'),
///   acc' = 2^(m - m') acc + sum 2^(s - m') v
///
/// and ends with O = acc / l and logsumexp = log 2 m + log l.
///
/// Options: query_block (queries per block), key_block (keys per tile; rounded up to panels of 32);
/// `auto` suits the caches. Any sizes give the same function; tests use 1, primes and more than N.
///
/// Takes every part of the Problem. Time 4 N^2 d FLOP a head (half when causal); workspace: one
/// packed copy of the keys plus, per thread, tiles of query_block x key_block: O(N d).
///
/// Papers: Rabe & Staats 2021 (2112.05682), section 3; Dao et al. 2022 and Dao 2023
/// (FlashAttention, -2), whose loop order (queries outside, normalised once) is taken; Liu & Abbeel
/// 2023 (Blockwise Parallel Transformer) uses the same inner loop. Difference from Rabe & Staats'
/// code: blocks that do not divide the length are short, never shifted back over keys already
/// counted.
extern const Variant kBlockwise;

}  // namespace longattn
