#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// The middle element, or the mean of the two middle ones. Values must not be empty.
double median(std::span<const double> values);

/// The median with its distribution-free interval: order statistics x_(k) .. x_(n+1-k) with the
/// largest k for which P(k <= B(n, 1/2) <= n - k) >= confidence. Below 6 values no pair reaches
/// 0.95: then smallest and largest (93.75 % for 5, 50 % for 2). David & Nagaraja 2003, Order
/// Statistics, section 7.1.
Estimate median_interval(std::span<const double> values, double confidence = 0.95);
/// The coverage that median_interval reaches with n values.
double median_coverage(Index n);

/// (sum a / sum b)^power over rows, with a 95 % bootstrap-t interval on its logarithm: rows are
/// drawn with replacement, by `seed` alone, and the logarithm's deviation is divided by its
/// standard error of the same draw, from the linearised quotient; the quantiles of that replace
/// those of the normal distribution. Errors of rows have long tails, to one side, which the t-form
/// follows. Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 12.5; Cochran 1977,
/// Sampling Techniques, section 6.4.
///
/// a and b are not negative, and sum b is positive. Where all quotients are alike the interval is
/// empty; where no error was seen (sum a = 0) it cannot be estimated and is empty too. Draws
/// without any error have no logarithm: then the plain percentiles of the draws stand in.
Estimate bootstrap_ratio(std::span<const double> a, std::span<const double> b, double power,
                         std::uint64_t seed, Index resamples = 1000);

/// How often a nominal 95 % interval over sampled rows holds the figure of all rows, at worst over
/// the shipped trace and every generator, as tests/experiments/coverage_test.cpp simulates it: of
/// all heads together, and of one head by at least kFewestHeadRows of its own rows. Where the error
/// of a head hangs on a few rows, most samples miss them, and no interval knows of them.
inline constexpr double kSimulatedCoverage = 0.95, kSimulatedHeadCoverage = 0.78;

/// Of all rows at least this share is no worse than the worst of `sampled_rows` random ones, with a
/// confidence of 95 %: 0.05^(1/n), because if more than a share f were worse, all n rows would have
/// missed them with a chance below (1 - f)^n. David & Nagaraja 2003, section 7.3.
double share_no_worse(Index sampled_rows);

}  // namespace longattn
