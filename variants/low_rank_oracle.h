#pragma once

#include "core/variant.h"

namespace longattn {

/// The best any method of rank k can do: the weights of full attention, replaced by the matrix of
/// rank k that is nearest to them.
///
///   W = softmax(scale Q K^T + bias) [query_len, key_len] = sum_a sigma_a u_a v_a^T
///   W_k = sum_{a <= k} sigma_a u_a v_a^T,   output = W_k V
///
/// No matrix of rank k is nearer to W, in the Frobenius or the spectral norm; the relative error of
/// the weights is sqrt(sum_{a > k} sigma_a^2) / |W|_F. Rows of W_k need not be positive nor sum to
/// one, so no distribution measures and no logsumexp are defined. (The nearest weights do not give
/// the nearest output for given V; that would be a rank-k approximation of W V, which has rank
/// head_dim anyway.)
///
/// Which k directions to keep is a choice that depends on the data, and jumps where singular values
/// tie; definition and forward take it from one function, which forms W in double. Directions are
/// found by a block Krylov method to 1e-6 of each sigma^2.
///
/// Not a method but a bound, what the error of Linformer or any other rank-k method is read
/// against: it costs far more than full attention.
///
/// Options: k (rank). From k = min(query_len, key_len) on it is full attention.
///
/// Refuses causal masks and documents (the nearest matrix of rank k weighs what they hide), and
/// more than 4,096 queries or keys, because W is held in double. Padding (keys left out of W),
/// ALiBi and grouped heads are taken. Cost: O(N^2 m) in double for m = min(N, 4 k + 64) Krylov
/// vectors, which is what cost() says; where singular values around the k-th lie close together, a
/// few times that. Workspace: W and 2 N m + 3 m^2 doubles, one head at a time.
///
/// Paper: Eckart & Young 1936, The approximation of one matrix by another of lower rank; the
/// reference curve of Wang et al. 2020, Linformer (2006.04768), section 3.1, where the spectrum of
/// W is looked at.
extern const Variant kLowRankOracle;

}  // namespace longattn
