#include "experiments/judge/scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "experiments/judge/statistics.h"

namespace longattn {
namespace {

// log c = mean + slope (x - centre), by least squares.
struct Line {
  double centre = 0, mean = 0, slope = 0;
  double at(double x) const { return mean + slope * (x - centre); }
};

Line fit_line(std::span<const CostAtLength> costs, size_t round) {
  Line line;
  const auto count = static_cast<double>(costs.size());
  for (const CostAtLength& cost : costs) {
    line.centre += std::log(static_cast<double>(cost.length)) / count;
    line.mean += std::log(cost.rounds[round]) / count;
  }
  double above = 0, below = 0;
  for (const CostAtLength& cost : costs) {
    const double x = std::log(static_cast<double>(cost.length)) - line.centre;
    above += x * (std::log(cost.rounds[round]) - line.mean);
    below += x * x;
  }
  line.slope = above / below;
  return line;
}

Estimate slope_of(std::span<const CostAtLength> costs, Index rounds) {
  std::vector<double> slopes;
  for (size_t r = 0; r < static_cast<size_t>(rounds); ++r) {
    slopes.push_back(fit_line(costs, r).slope);
  }
  return median_interval(slopes);
}

void check_residuals(std::span<const CostAtLength> costs, Scaling& scaling) {
  const double confidence = 1 - 0.05 / static_cast<double>(costs.size());
  std::vector<Line> lines;  // of each round
  for (size_t r = 0; r < static_cast<size_t>(scaling.rounds); ++r) {
    lines.push_back(fit_line(costs, r));
  }
  for (const CostAtLength& cost : costs) {
    std::vector<double> residuals;
    for (size_t r = 0; r < lines.size(); ++r) {
      const double fitted = lines[r].at(std::log(static_cast<double>(cost.length)));
      residuals.push_back(std::expm1(std::log(cost.rounds[r]) - fitted));
    }
    const Estimate residual = median_interval(residuals, confidence);
    if (residual.low > kResidual || residual.high < -kResidual) scaling.power_law = false;
    if (std::abs(residual.value) > std::abs(scaling.residual)) {
      scaling.residual = residual.value;
      scaling.residual_at = cost.length;
    }
  }
}

bool all_zero(std::span<const CostAtLength> costs) {
  return std::ranges::all_of(costs, [](const CostAtLength& cost) {
    return std::ranges::all_of(cost.rounds, [](double figure) { return figure == 0; });
  });
}

std::string reason_to_refuse(std::span<const CostAtLength> costs) {
  const auto count = static_cast<Index>(costs.size());
  if (count < kFewestLengths) {
    return fmt::format("{} length{}, a growth needs at least {}", count, count == 1 ? "" : "s",
                       kFewestLengths);
  }
  const Index shortest = costs.front().length, longest = costs.back().length;
  const double range = static_cast<double>(longest) / static_cast<double>(shortest);
  if (range < kShortestRange) {
    return fmt::format("lengths from {} to {}, a factor {:.4g}; a growth needs at least {:g}",
                       shortest, longest, range, kShortestRange);
  }
  if (all_zero(costs)) return "";
  for (const CostAtLength& cost : costs) {
    for (const double figure : cost.rounds) {
      if (!(figure > 0 && std::isfinite(figure))) {
        return fmt::format("{:g} at length {} has no logarithm", figure, cost.length);
      }
    }
  }
  return "";
}

}  // namespace

Scaling fit_scaling(std::span<const CostAtLength> costs, bool counted) {
  Scaling scaling;
  scaling.lengths = static_cast<Index>(costs.size());
  scaling.counted = counted;
  scaling.refusal = reason_to_refuse(costs);
  if (!scaling.refusal.empty()) return scaling;
  size_t rounds = costs.front().rounds.size();
  for (const CostAtLength& cost : costs) rounds = std::min(rounds, cost.rounds.size());
  assert(rounds > 0);
  scaling.rounds = static_cast<Index>(rounds);
  std::vector<CostAtLength> ones;  // as constant as zeros, and with logarithms
  if (all_zero(costs)) {
    for (const CostAtLength& cost : costs) {
      ones.push_back({cost.length, std::vector<double>(rounds, 1.0)});
    }
    costs = ones;
  }
  scaling.exponent = slope_of(costs, scaling.rounds);
  for (size_t n = 1; n < costs.size(); ++n) {
    const auto step = costs.subspan(n - 1, 2);
    scaling.steps.push_back({step[0].length, step[1].length, slope_of(step, scaling.rounds)});
  }
  size_t tail = costs.size() - 3;
  while (tail > 0 && 4 * costs[tail - 1].length >= costs.back().length) --tail;
  scaling.tail_from = costs[tail].length;
  scaling.tail = slope_of(costs.subspan(tail), scaling.rounds);
  check_residuals(costs, scaling);
  return scaling;
}

std::string_view to_string(GrowthVerdict verdict) {
  switch (verdict) {
    case GrowthVerdict::holds:
      return "holds";
    case GrowthVerdict::faster:
      return "faster";
    case GrowthVerdict::undecided:
      return "undecided";
  }
  return "?";
}

GrowthVerdict judge_growth(const Scaling& scaling, double declared) {
  if (!scaling.refusal.empty()) return GrowthVerdict::undecided;
  if (!scaling.counted && scaling.rounds < kFewestRounds) return GrowthVerdict::undecided;
  const double bound = declared + kGrowthMargin;
  if (scaling.tail.low > bound) return GrowthVerdict::faster;
  return scaling.tail.high <= bound ? GrowthVerdict::holds : GrowthVerdict::undecided;
}

std::string undecided_reason(const Scaling& scaling, double declared) {
  if (!scaling.refusal.empty()) return scaling.refusal;
  if (!scaling.counted && scaling.rounds < kFewestRounds) {
    return fmt::format("{} round{}, a verdict needs at least {}", scaling.rounds,
                       scaling.rounds == 1 ? "" : "s", kFewestRounds);
  }
  return fmt::format("the interval reaches across n^{:g}", declared + kGrowthMargin);
}

}  // namespace longattn
