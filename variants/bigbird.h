#pragma once

#include "core/variant.h"

namespace longattn {

/// Window, global and random blocks.
///
/// The sequence is cut into n = ceil(key_len / block_size) blocks, the last one short if it must
/// be. A query of block R weighs, by a softmax over them, the keys of block C iff one of these
/// holds:
///
///   window   |R - C| <= (window_blocks - 1) / 2
///   global   R or C is one of the first ceil(g/2) or of the last floor(g/2) blocks,
///            g = global_blocks
///   random   C is one of the first random_blocks entries of pi_(head, R) among the blocks that the
///            first two do not show; pi_(head, R) is a random permutation of all n blocks
///
/// intersected with the Problem's mask. R is the block of the query's position (bottom-right
/// aligned); a query before the first token counts to block 0.
///
/// Conventions. Counts are of blocks: the paper's "window 3b, global 2b" is window_blocks 3,
/// global_blocks 2 (first and last), both as published; global_blocks 1 is the first block alone,
/// as in DeepSpeed. window_blocks counts both sides and the block itself, so it is odd; even values
/// are refused. Random blocks come from the whole sequence; the published code draws from its
/// beginning at some lengths, and where a draw meets a window or global block its fast path weighs
/// those keys twice. Here every key counts once, and random_blocks are in addition to the rest.
/// Scores are scaled by 1/sqrt(head_dim) as in the code; the paper's equation leaves it out. A
/// causal mask, which neither paper nor code defines, leaves of the pattern what lies in the past.
///
/// Random draws depend on (seed, head, R) and n alone. A larger window_blocks, global_blocks or
/// random_blocks shows every key that a smaller one shows: blocks that the window takes over were
/// drawn before, or make room for later draws.
///
/// Takes every part of the Problem. Exact once each row of blocks shows all n: with the published
/// window and globals and no random blocks, up to n = 4. Heads differ when random_blocks > 0; not
/// stable over prefixes when random_blocks > 0 or global_blocks > 1 (the last block moves).
///
/// Cost: with the published form (window 3, global 2), r random blocks and n >= r + 5 whole blocks
/// of b tokens, scored pairs a head are (7 + r) b N - (12 + 2 r) b^2, of 2 (head_dim + value_dim)
/// FLOP each: O(N (g + w + r) b). Workspace as blockwise. Neighbouring blocks are read as one run
/// of keys; blocks below 32 tokens leave the engine's tiles partly empty.
///
/// Paper: Zaheer et al. 2020, Big Bird: Transformers for Longer Sequences (2007.14062), section 2
/// (internal global tokens, ITC) and Table 8.
extern const Variant kBigbird;

}  // namespace longattn
