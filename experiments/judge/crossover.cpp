#include "experiments/judge/crossover.h"

#include <cmath>

namespace longattn {
namespace {

bool cheaper(const Estimate& a, const Estimate& b) { return a.high < b.low; }

double excess(const CostPair& pair) { return std::log(pair.ours.value / pair.theirs.value); }

// Where a line through two points of (log length, log ratio) is zero.
double where_equal(const CostPair& before, const CostPair& after) {
  const double x0 = std::log(static_cast<double>(before.length)),
               x1 = std::log(static_cast<double>(after.length));
  const double y0 = excess(before), y1 = excess(after);
  return std::exp(x0 + (x1 - x0) * y0 / (y0 - y1));
}

}  // namespace

std::optional<Crossover> find_crossover(std::span<const CostPair> pairs) {
  if (pairs.empty()) return std::nullopt;
  using Kind = Crossover::Kind;
  const CostPair& longest = pairs.back();
  if (cheaper(longest.theirs, longest.ours)) return Crossover{Kind::never, {}};
  if (!cheaper(longest.ours, longest.theirs)) return Crossover{Kind::open, {}};
  size_t first = pairs.size() - 1;  // of the lengths from which on ours is cheaper
  while (first > 0 && cheaper(pairs[first - 1].ours, pairs[first - 1].theirs)) --first;
  if (first == 0) return Crossover{Kind::everywhere, {}};
  Crossover crossover{Kind::from, {}};
  const auto high = static_cast<double>(pairs[first].length);
  for (size_t n = 0; n < first; ++n) {
    if (cheaper(pairs[n].theirs, pairs[n].ours)) {
      crossover.length.low = static_cast<double>(pairs[n].length);
    }
  }
  crossover.length.high = crossover.length.value = high;
  // The last change of sign; without one, ours was always cheaper but not surely.
  for (size_t n = first; n > 0; --n) {
    if (excess(pairs[n - 1]) >= 0 && excess(pairs[n]) < 0) {
      crossover.length.value = where_equal(pairs[n - 1], pairs[n]);
      break;
    }
  }
  return crossover;
}

}  // namespace longattn
