#pragma once

#include "core/variant.h"

namespace longattn {

/// Softmax over the keys of the blocks that a layout names: any pattern of whole blocks.
///
/// The sequence is cut into n = ceil(key_len / block_size) blocks, the last one short if it must
/// be, and L is a matrix of 0 and 1, [n, n], or one for each head, [num_heads, n, n]. Query i
/// weighs key j by a softmax over
///
///   { j : L[block(position(i)), block(j)] = 1 }
///
/// intersected with the Problem's mask, element by element: a causal diagonal block does not show
/// its upper half, and layouts need not be triangular. Rows that see nothing are zero. Positions
/// are bottom-right aligned, so one layout serves a sequence and the last queries of it; a query
/// before the first token counts to block 0.
///
/// Options: block_size (tokens); layout, a .npy file of any element type holding 0 and 1, or one of
///
///   dense      every block; equals full attention
///   local      blocks at distance 0 and 1: DeepSpeed's LocalSlidingWindow of 3 blocks
///   fixed      windows of 4 blocks, and of each window, a short last one too, the last block for
///              everyone: DeepSpeed's Fixed with its defaults, bidirectional; Child et al.'s fixed
///              pattern in blocks
///   butterfly  block numbers that differ in at most one binary digit: the pattern of block-sparse
///              FlashAttention (section 3.3), after Dao et al. 2022 (Pixelated Butterfly)
///
/// A file of another shape is refused with both shapes; elements other than 0 and 1, and files that
/// cannot be read, are errors.
///
/// Takes every part of the Problem. Heads are alike unless the file has a layout for each;
/// generated layouts are stable over prefixes if causal.
///
/// Cost: block_size^2 sum(L) scored pairs a head, less short blocks and, if causal, the upper
/// halves, of 2 (head_dim + value_dim) FLOP each: O(N) for local, O(N log N) for butterfly,
/// declared as the N^1.16 that it is around 256 blocks, O(N^2) for the others; workspace as
/// blockwise. The plan keeps the file's n^2 cells. Neighbouring blocks are read as one run of keys;
/// blocks below 32 tokens leave the engine's tiles partly empty.
///
/// Papers: Gray, Radford & Kingma 2017, GPU Kernels for Block-Sparse Weights; Dao et al. 2022
/// (FlashAttention, 2205.14135), section 3.3.
extern const Variant kBlockSparse;

}  // namespace longattn
