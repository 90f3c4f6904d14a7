#pragma once

#include "core/variant.h"

namespace longattn {

/// Sliding window with dilation, and a few global tokens.
///
/// Let t = position of query i (bottom-right aligned: i + key_len - query_len), w the one-sided
/// window, delta the dilation, G the global tokens. Query i weighs key j, by a softmax over
///
///   t not in G:  { j : |t - j| <= w delta and (t - j) mod delta = 0 }  united with G
///   t in G:      every key
///
/// with scores scale q_i . k_j + bias_ij. Each set is intersected with the Problem's mask; a global
/// key inside the window counts once. Under a causal mask the pattern is intersected with it, so
/// symmetric global attention does not leak. Rows that see nothing are zero.
///
/// Global projections. With the extra tensors global_queries, global_keys and global_values (all
/// three or none; shapes of queries, keys, values), rows t in G are
/// softmax(scale q_g,i . k_g,j) v_g,j over every visible key, as in the paper's section 3.1; other
/// rows score global keys with the ordinary projections, as the published code does. Without them
/// the projections are tied. Declared traits describe the tied form.
///
/// Options: window (tokens on each side, as in the published code: 2 w + 1 keys; the paper's w and
/// Hugging Face's attention_window count both sides), dilation (1: none; the paper's table writes
/// 0), global_tokens (token indices, below key_len).
///
/// Takes every part of the Problem. Exact with dilation 1 and a window over the sequence, or with
/// every token global. A larger window shows every key that a smaller one shows.
///
/// Cost: scored pairs N + 2 sum_{t=1..w} max(0, N - t delta) for the window (causal: once), plus
/// global columns and rows: O(N (w + |G|)). Workspace as blockwise. Dilated windows are computed
/// per residue class of positions, where they are dense.
///
/// Paper: Beltagy, Peters & Cohan 2020, Longformer (2004.05150), section 3.1.
extern const Variant kLongformer;

}  // namespace longattn
