#pragma once

#include <functional>

#include "tests/variants/drawn_case.h"

namespace longattn {

/// A variant, and the rows of W that its paper's formula gives, written out in double.
struct WrittenCase {
  const Variant* variant;
  Problem problem;
  OptionTexts options;
  /// All rows of one (batch entry, head), in order of the queries.
  std::function<Rows(const DrawnTensors&, Index b, Index h)> rows;
  bool own_projections = false;  ///< whether the extra tensors are given
  Index products = 0;            ///< behind one score, for roundings in double; 0: head_dim
};

/// How much of exp(score) a pattern lets query i have of key j: 0 or 1, or between for soft edges.
using Share = std::function<double(Index i, Index j)>;
/// Rows of one (batch entry, head) of a softmax over the keys that `share` and the mask show, term
/// by term.
Rows softmax_rows(const Problem& p, const DrawnTensors& t, Index b, Index h, const Share& share);
/// The same of other queries and keys.
Rows softmax_rows(const Problem& p, Index b, Index h, const Vectors& queries, const Vectors& keys,
                  const Share& share);

/// Holds definition and forward against the rows that are written out. Also logsumexp, workspace,
/// gaps of strided outputs, the bits of several threads, and NaN in keys and values that are not
/// weighed. Where the variant declares its rows to be restrictions of full attention, the
/// definition's keep the identities of every restriction, with P full attention, tau the mass that
/// was lost, mu the mean values of what was lost and kept:
///   TV(P, W) = tau,   KL(W || P) = -log(1 - tau),   P V - W V = tau (mu_lost - mu_kept)
void expect_as_written_out(const WrittenCase& c, Dice& dice);

/// The same for a variant that is full attention, and its cost against a count of the pairs that
/// the mask shows.
void expect_full_attention(const Variant& variant, const Problem& p, const OptionTexts& options,
                           Dice& dice);

/// Holds a definition's rows, with `products` behind a score, against rows that are written out.
void expect_rows(const Rows& rows, const Rows& expected, Index products);

}  // namespace longattn
