#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// The middle element, or the mean of the two middle ones. Values must not be empty.
double median(std::span<const double> values);

/// The median with its distribution-free interval: order statistics x_(k) .. x_(n+1-k) with the
/// largest k for which P(k <= B(n, 1/2) <= n - k) >= 0.95. Below 6 values no pair reaches that:
/// then smallest and largest (93.75 % for 5, 50 % for 2). David & Nagaraja 2003, Order Statistics,
/// section 7.1.
Estimate median_interval(std::span<const double> values);
/// The coverage that median_interval reaches with n values.
double median_coverage(Index n);

/// A statistic of rows with its 95 % percentile bootstrap interval: `statistic` is evaluated on
/// `resamples` draws of n row numbers with replacement, drawn by `seed` alone. Efron & Tibshirani
/// 1993, chapter 13.
Estimate bootstrap(Index rows, const std::function<double(std::span<const Index>)>& statistic,
                   std::uint64_t seed, Index resamples = 1000);

}  // namespace longattn
