#pragma once

#include "core/variant.h"

namespace longattn {

/// Factorised patterns: a local part, and columns that carry information far.
///
/// Let t = position of query i (bottom-right aligned: i + key_len - query_len), l the stride, c the
/// expressivity. Query i weighs key j, by a softmax over the keys of its pattern intersected with
/// the Problem's mask:
///
///   local     |t - j| < l
///   strided   |t - j| < l,  or  (t - j) mod l = 0
///   fixed     floor(j / l) = floor(t / l),  or  j mod l >= l - c
///
/// The paper's patterns are causal; with a causal mask these are theirs, and without one they are
/// our extension: the window on both sides, the columns both ways, the own block and all summary
/// columns. The two parts of a pattern are merged in each head (the paper's section 5.1 also has
/// heads or layers take turns); a key in both counts once.
///
/// Readings. The published sources differ by one in two places, `reading` chooses:
///
///   reading   window of local                    summary columns of fixed
///   code      |t - j| < l: l keys when causal    c: j mod l >= l - c             (default)
///   paper     |t - j| <= l: l + 1 keys           c + 1: also j mod l = 0
///   lra       as code                            as paper
///
/// `code` is openai/sparse_attention (its `local`, and the last blocks of each stride window),
/// `paper` takes the formulas to the letter (max(0, i - l) .. i; j mod l in {l - c, .., l}), `lra`
/// is Long Range Arena. strided is the same in all: the key at distance l is a column. The
/// published code also lets heads summarise different parts of each window; here all heads are
/// alike.
///
/// Options: pattern; stride (tokens; auto: round(sqrt(key_len)), the paper's choice, which makes
/// time grow as N^1.5); expressivity (c; the paper uses 8, 16, 32 with strides of 128 and 256; c >=
/// l shows every key); reading.
///
/// Takes every part of the Problem. Exact if l reaches over the sequence, for strided also if l =
/// 1, for fixed if every column is a summary. Stable over prefixes unless stride is auto. A larger
/// expressivity shows every key that a smaller one shows.
///
/// Cost, causal, N = q l + r tokens, scored pairs a head:
///   local     L N - L (L - 1) / 2,  L = min(l, N)
///   strided   that + l q (q + 1) / 2 + r (q + 1) - N
///   fixed     q l (l + 1) / 2 + r (r + 1) / 2 + sum_{summaries j < N} (N - j)
///             - q c (c + 1) / 2 - u (u + 1) / 2,  u = max(0, r - (l - c))
/// of 2 (head_dim + value_dim) FLOP each. Workspace as blockwise; strided takes two passes, windows
/// over runs of queries and columns over queries of one residue class, where they are dense, and
/// two floats a query more.
///
/// Paper: Child, Gray, Radford & Sutskever 2019, Generating Long Sequences with Sparse Transformers
/// (1904.10509), sections 4.2 and 4.3.
extern const Variant kSparseTransformer;

}  // namespace longattn
