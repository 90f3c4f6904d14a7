#pragma once

#include <span>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// Two-sided p-value of the Mann-Whitney rank-sum test: how often a random split of the pooled
/// values into two samples of these sizes has a rank sum at least as far from its mean as the one
/// seen. Exact, also with ties (mid-ranks); above 64 values in all by the normal approximation with
/// tie correction. Mann & Whitney 1947; Hollander, Wolfe & Chicken 2014, section 4.1.
double mann_whitney(std::span<const double> a, std::span<const double> b);

/// The smallest p-value that mann_whitney can give for samples of n and m values: 2 / C(n + m, n).
double smallest_mann_whitney(Index n, Index m);

/// By what factor b is larger than a: the median of all quotients b_j / a_i (Hodges & Lehmann
/// 1963), with the interval of at least 95 % that the rank-sum test inverts to. Where the samples
/// are too small for one, all quotients. Values must be positive.
Estimate ratio_of_samples(std::span<const double> a, std::span<const double> b);

/// p-values adjusted for their number, by Holm 1979: those at most alpha can all be rejected at a
/// family-wise error rate of alpha.
std::vector<double> holm(std::span<const double> p);

}  // namespace longattn
