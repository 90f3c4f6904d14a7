#pragma once

#include <span>

#include "core/types.h"

namespace longattn {

/// All eigenvalues and eigenvectors of a symmetric matrix, in memory of the caller: nothing is
/// allocated, so it can run inside a forward pass.
///
///   A = sum_a values[a] vectors_a vectors_a^T,   values descending, vectors_a row a of `vectors`
///
/// `matrix` [n, n], row-major and symmetric, is destroyed; `vectors` [n, n]; `values` [n];
/// `scratch` [2 n]. The residual of each pair is of the order of n eps |A|. A matrix with NaN gives
/// NaN after a bounded number of steps. About 9 n^3 FLOP.
///
/// Householder reduction to tridiagonal form, then QL steps with implicit shifts (Golub & Van Loan,
/// Matrix Computations, sections 8.3.1 and 8.3.3; Dubrulle, Martin & Wilkinson 1968).
void symmetric_eigen(Index n, std::span<double> matrix, std::span<double> vectors,
                     std::span<double> values, std::span<double> scratch);

}  // namespace longattn
