#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// One cost at one length: a figure per round, in the order of the rounds; or a single one, where
/// it is counted and every round would count the same (workspace).
struct CostAtLength {
  Index length = 0;
  std::vector<double> rounds;
};

/// The exponent between two lengths.
struct GrowthStep {
  Index from = 0, to = 0;
  Estimate exponent;
};

/// How a cost grows with the length n: the p of cost ~ n^p.
///
/// With x_l = log n_l over the lengths l, round r gives the least-squares slope of its own costs
///   p_r = sum_l (x_l - mean x) log c_rl / sum_l (x_l - mean x)^2.
/// What is off in one round (a busy machine) is off at all its lengths, but rounds are processes of
/// their own, so the p_r are independent draws: `exponent` is their median with the
/// distribution-free interval of median_interval(). `steps` are the same between neighbours, `tail`
/// over the last two doublings: the lengths from a quarter of the longest on, at least three.
///
/// The figure is an exponent only if the costs lie on one line. The relative residual of a length
/// is e_rl = c_rl / fit_r(n_l) - 1. A length is off the line when the interval of its e_rl over the
/// rounds lies more than kResidual from 0, at a confidence of 1 - 0.05 / lengths each (as far as so
/// few rounds reach it), so that noise alone puts one of all lengths off in at most 5 % of runs.
/// Then `power_law` is false: an overhead that still counts, a cache that ends, two terms of a
/// polynomial. (n log n is off by 1 % over a factor 32 in length: n^1.12, as far as anyone can
/// tell.)
struct Scaling {
  std::string refusal;  ///< why nothing is fitted, one clause; empty: fitted
  Index lengths = 0, rounds = 0;
  bool counted = false;  ///< figures without a spread: intervals are points
  Estimate exponent, tail;
  Index tail_from = 0;  ///< its shortest length
  std::vector<GrowthStep> steps;
  double residual = 0;  ///< median over rounds of e_rl, where that is furthest from 0
  Index residual_at = 0;
  bool power_law = true;
};

inline constexpr Index kFewestLengths = 5;
inline constexpr double kShortestRange = 8;  ///< longest over shortest length
inline constexpr double kResidual = 0.05;

/// Fits costs at distinct, ascending lengths. Refuses below kFewestLengths lengths or
/// kShortestRange, where a slope tells little of growth, and a cost that is not positive, which has
/// no logarithm; but what is 0 at every length does not grow, exponent 0. Lengths with different
/// numbers of rounds are fitted over the fewest; at least one.
Scaling fit_scaling(std::span<const CostAtLength> costs, bool counted = false);

/// A measured growth against a declared one, n^declared "for long sequences": only the tail is
/// held to it, and only growing faster is wrong.
enum class GrowthVerdict {
  holds,      ///< the interval of the tail ends at or below declared + kGrowthMargin
  faster,     ///< it begins above
  undecided,  ///< neither, or too few rounds to tell, or nothing fitted
};
std::string_view to_string(GrowthVerdict verdict);

/// Logarithms and caches that no exponent shows.
inline constexpr double kGrowthMargin = 0.15;
/// All of R independent medians lie above a bound that holds with probability 2^-R, 3 % at 5.
inline constexpr Index kFewestRounds = 5;

GrowthVerdict judge_growth(const Scaling& scaling, double declared);
/// Why it is undecided, one clause.
std::string undecided_reason(const Scaling& scaling, double declared);

}  // namespace longattn
