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
/// random block, because a multiple singular value may hide from the first. With as many vectors as
/// columns it is the whole decomposition. Time O(rows columns m) for the m vectors that it takes: a
/// few times the rank where singular values fall, all columns where they do not. Workspace as
/// below, with m for columns.
void leading_right_vectors(std::span<const double> matrix, Index rows, Index columns, Index rank,
                           std::span<double> basis, Context& context);

/// Most that leading_right_vectors can take from the workspace: 5 columns^2 doubles and a little.
Index leading_workspace_bytes(Index columns, Index rank);

}  // namespace longattn
