#pragma once

#include "core/variant.h"

namespace longattn {

/// Each block of queries attends to one block of keys, a cyclic shift away; each head has its
/// shift.
///
/// The sequence is cut into n = num_blocks blocks of ceil(key_len / n) tokens, the last ones short
/// or empty if they must be. With s_h the shift of head h, query i of block R = block(position(i))
/// weighs key j by a softmax over
///
///   { j : block(j) = pi_h(R) },   pi_h(R) = (R + s_h) mod n,
///
/// intersected with the Problem's mask. Positions are bottom-right aligned; a query before the
/// first token counts to block 0. Rows that see nothing are zero: under a causal mask all rows of
/// block R with pi_h(R) > R, as the paper's model is bidirectional.
///
/// Conventions. Shift 1 is the paper's permutation (2, 3, 1): block 1 attends to block 2. `shifts`
/// lists the shift of each head, taken modulo n; a list that is shorter by a whole factor is
/// repeated ([0, 1]: every other head). `auto`, the default, gives head h the shift h mod n, so
/// that n heads together see everything. The paper tunes how many of 12 heads get which shift: 10
/// identities and 2 shifted for n = 2 is shifts [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1].
///
/// Identity: the n shifts of the same queries and keys, merged by their logsumexps, are full
/// attention; n = 1 is full attention.
///
/// Takes every part of the Problem. Heads are alike only if their shifts are; blocks grow with the
/// sequence, so it is not stable over prefixes.
///
/// Cost: N^2 / n scored pairs a head if n divides N, of 2 (head_dim + value_dim) FLOP each;
/// workspace as blockwise.
///
/// Paper: Qiu et al. 2020, Blockwise Self-Attention for Long Document Understanding (BlockBERT,
/// 1911.02972), section 3.1. No code for it was published.
extern const Variant kBlockPermutation;

}  // namespace longattn
