#pragma once

#include "core/variant.h"

namespace longattn {

/// A window whose edge is a ramp, of its own length in every head.
///
/// Let t = position of query i (bottom-right aligned: i + key_len - query_len), x = |t - j| its
/// distance from key j, z the span of the head and R the ramp. A row is a softmax whose terms are
/// multiplied by a soft mask:
///
///   W_ij = m_ij exp(s_ij) / sum_j' m_ij' exp(s_ij'),   s_ij = scale q_i . k_j + bias_ij
///   m_ij = min(max((R + z - (x - offset)) / R, 0), 1)
///
/// over the keys that the Problem's mask shows; a row in which every m is zero is zero. logsumexp
/// is that of s + log m. Keys with m = 0, at distance z + R + offset and beyond, are not scored:
/// cost follows the span.
///
/// Conventions. Distance: the paper is causal (x = t - j); without a causal mask the window reaches
/// to both sides, which is our extension. offset: the paper writes m(x), 0; the published code
/// computes m(x - 1), 1, one token wider. include_self: the paper attends to t-S .. t-1 and leaves
/// the token itself out; full attention, which errors are measured against, does not, so it is in
/// unless the option says false. Scale: the paper omits 1/sqrt(head_dim), the code has it; here it
/// is the Problem's. The code adds 1e-8 to the sum and lets the zeros of an empty cache take part;
/// both are left out, and so is the position term p (inputs are queries and keys). Spans are given,
/// not learned.
///
/// Options: span (z, in tokens: a number for all heads, one a head, or a .npy file with either),
/// ramp (R, in tokens; the paper's is 32; 1 with a whole span is a hard window of z tokens),
/// offset, include_self. Throws DataError for a file that cannot be read or holds a number < 0.
///
/// Takes every part of the Problem. Rows are stochastic; a softmax on a subset if no key lies on
/// the ramp. With spans of at least the sequence and self included it is full attention; without,
/// that without the diagonal.
///
/// Cost: causal scored pairs sum_h sum_t min(t + 1, ceil(z_h + R) + offset) (less the token itself
/// if left out); to both sides otherwise: O(N (z + R)) a head. Each head pays for its own span,
/// where the published code trims to the largest. Workspace: the engine's tiles, and a packed copy
/// of the keys where most of them are read more than twice.
///
/// Paper: Sukhbaatar, Grave, Bojanowski & Joulin 2019, Adaptive Attention Span in Transformers
/// (1905.07799), section 2.2; its #FLOPS are multiply-adds, 4 d^2 + 2 S d + 2 d d_ff a token and
/// layer with S the mean span.
extern const Variant kAdaptiveSpan;

}  // namespace longattn
