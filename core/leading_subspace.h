#pragma once

#include <span>

#include "core/parallel.h"
#include "core/types.h"

namespace longattn {

/// The right singular vectors of a matrix M [rows, columns] (row-major, double) that belong to its
/// `rank` largest singular values: `basis` [rank, columns], orthonormal rows, largest first.
///
/// M basis^T basis is then the best approximation of M of that rank (Eckart & Young 1936). Where
/// singular values tie, some basis is chosen: always the same for the same matrix, on any number of
/// threads. 1 <= rank <= columns.
///
/// Block Krylov method on M^T M with full orthogonalisation and Rayleigh-Ritz (Golub & Underwood
/// 1977; Musco & Musco 2015, 1504.05477), from a fixed random block, until every residual
/// |M^T M v - sigma^2 v| is below 1e-6 sigma^2 + 1e-13 sigma_1^2; then once more beside a fresh
/// random block, because a multiple singular value may hide from the first. At most
/// m = min(columns, 4 rank + 64) vectors are held: when these are not enough, it restarts from the
/// leading third of what they span (thick restart: Wu & Simon 2000, SIAM J. Matrix Anal. 22). With
/// m = columns it is the whole decomposition. After 4 columns vectors in all it ends with the best
/// that those it holds span: singular values around the rank then lie too close together to be told
/// apart. A matrix with NaN gives NaN.
///
/// Time O(rows columns m) where singular values fall, as those of softmax weights do; at most
/// O(rows columns^2).
void leading_right_vectors(std::span<const double> matrix, Index rows, Index columns, Index rank,
                           std::span<double> basis, Context& context);

/// Exactly what leading_right_vectors takes from the workspace: 2 m columns + 3 m^2 doubles and a
/// little.
Index leading_workspace_bytes(Index columns, Index rank);

/// Floating point operations of leading_right_vectors when it need not restart.
double leading_flops(Index rows, Index columns, Index rank);

}  // namespace longattn
