#pragma once

#include "core/variant.h"

namespace longattn {

/// The baseline everyone knows: softmax(scale Q K^T + mask) V with the score matrix in memory.
///
///   S = scale Q K^T  [query_len, key_len];   P_i = exp(S_i - max S_i) / sum;   O = P V
///
/// One float32 score matrix for one head at a time, threads over blocks of its rows, each of which
/// gets its scores, its softmax and its product with the values while it is in a cache; a framework
/// that keeps all heads needs num_heads times that memory. Every score is computed, masked or not,
/// as such implementations do; hidden scores count as -inf, and hidden values never reach an
/// output.
///
/// Takes every part of the Problem; a row that sees nothing is zero, its logsumexp -inf. No
/// options. Time 4 N^2 d FLOP a head, causal or not; workspace 4 N^2 bytes plus packed copies of
/// keys and values.
///
/// Paper: Vaswani et al. 2017, Attention Is All You Need, equation 1.
extern const Variant kFull;

}  // namespace longattn
