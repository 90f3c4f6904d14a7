#pragma once

#include "core/variant.h"

namespace longattn {

/// Keys and values projected along the sequence to a fixed number of rows, then full attention.
///
///   output_i = softmax_p(scale q_i . (E K)_p) (F V),    E, F [projected_len, key_len]
///
/// so W = P F with P = softmax(scale Q (E K)^T) of [query_len, projected_len]: rows of W sum to
/// what the rows of F make of it, and may be negative. (The paper writes E and F as n x k and uses
/// them as k x n.) Keys are projected, not embeddings; without a bias in E that is the same.
///
/// Projections (option `projection`):
///   gaussian   E = F = R, entries independent N(0, 1/projected_len) (theorem 1; published code
///              that draws with standard deviation 1/projected_len departs from it)
///   mean_pool  row p is the mean over segment p: keys [p n/k, (p+1) n/k), rounded down, of n =
///              key_len keys in k = projected_len segments, whose lengths differ by at most one
///   conv       stride = kernel = the longest segment: row p is sum_t w_t k_{begin(p)+t}, with one
///              kernel w for all channels, N(0, 1/taps); a shorter segment leaves the last tap
///              unused
///   file       learned E and F, options `e` and `f`: .npy of [projected_len, key_len], used as
///              float32; without `f`, F = E
///
/// gaussian and conv hold random numbers where the paper has learned ones: every figure of them is
/// marked "untrained". Nobody should read an error of theirs as Linformer's.
///
/// Sharing of what is drawn (option `share`, the paper's modes): key_value, one E = F for all
/// heads; headwise, one E and one F; none, an E and an F per query head. Only with key_value is E =
/// F = R as in the theorem: independent E and F make a random combination of the values. (The
/// paper's layerwise sharing is key_value with one seed in all layers.) Entry (p, j) is a function
/// of seed, head, row p and j alone: a shorter sequence takes the first columns, as published code
/// does.
///
/// Padded keys and values count as zeros in the projections and are not read. A projected row that
/// saw only padding has score 0 and value 0, and takes its share of the softmax: with padding even
/// mean_pool of one key a segment is not full attention. Causal masks are refused: every projected
/// key mixes future ones. So are documents and ALiBi, for which a projected key has no place. There
/// is no logsumexp: the softmax is over projected rows, not keys.
///
/// projected_len: `auto` is key_len / 8, at most 256 and at least 1 (as Dao et al. 2022, appendix
/// E, compare it); with `file` what the file says. More than key_len is refused.
///
/// Exact where it is the identity: mean_pool with projected_len = key_len and no padding; or a file
/// that holds the same permutation matrix for E and F. An orthogonal E is not enough.
///
/// Cost: projection 2 n k (d_k + d_v) FLOP per kv head (per query head if share is none), mean_pool
/// and conv 2 n (d_k + d_v); then query_len k scored pairs per head, of 2 (d_k + d_v) each: O(N k).
/// Workspace O(k), whatever the length (16-bit queries are copied as float32: O(N)). E and F, 4 k n
/// bytes each, belong to the plan as weights do to a layer (Cost::held_bytes); they are drawn at
/// first use.
///
/// Paper: Wang, Li, Khabsa, Fang & Ma 2020, Linformer (2006.04768), section 4, equation 7.
extern const Variant kLinformer;

}  // namespace longattn
