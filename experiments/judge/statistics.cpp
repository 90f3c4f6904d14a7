#include "experiments/judge/statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "core/random.h"

namespace longattn {

double median(std::span<const double> values) {
  assert(!values.empty());
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const size_t n = sorted.size();
  return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

namespace {

// P(x_(k) <= median <= x_(n+1-k)) = P(k <= B <= n - k), B binomial(n, 1/2).
double coverage(Index n, Index k) {
  double probability = 0;
  for (Index i = k; i <= n - k; ++i) {
    const auto dn = static_cast<double>(n), di = static_cast<double>(i);
    probability += std::exp(std::lgamma(dn + 1) - std::lgamma(di + 1) - std::lgamma(dn - di + 1) -
                            dn * std::log(2.0));
  }
  return probability;
}

Index interval_rank(Index n) {
  Index k = 1;
  while (k + 1 <= (n + 1) / 2 && coverage(n, k + 1) >= 0.95) ++k;
  return k;
}

}  // namespace

double median_coverage(Index n) { return coverage(n, interval_rank(n)); }

Estimate median_interval(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const auto n = static_cast<Index>(sorted.size());
  const Index k = interval_rank(n);
  return {median(values), sorted[static_cast<size_t>(k - 1)], sorted[static_cast<size_t>(n - k)]};
}

Estimate bootstrap(Index rows, const std::function<double(std::span<const Index>)>& statistic,
                   std::uint64_t seed, Index resamples) {
  assert(rows > 0);
  std::vector<Index> sample(static_cast<size_t>(rows));
  std::iota(sample.begin(), sample.end(), Index{0});
  Estimate estimate;
  estimate.value = statistic(sample);
  std::vector<double> draws;
  for (Index r = 0; r < resamples; ++r) {
    const CounterRandom random(seed, make_stream(0xB007, static_cast<std::uint64_t>(r)));
    for (size_t n = 0; n < sample.size(); ++n) {
      sample[n] = static_cast<Index>(random.below(n, static_cast<std::uint64_t>(rows)));
    }
    draws.push_back(statistic(sample));
  }
  std::ranges::sort(draws);
  const auto quantile = [&](double p) {
    return draws[static_cast<size_t>(p * static_cast<double>(draws.size() - 1) + 0.5)];
  };
  // The sample's own value lies inside by construction, even when all draws agree.
  estimate.low = std::min(quantile(0.025), estimate.value);
  estimate.high = std::max(quantile(0.975), estimate.value);
  return estimate;
}

}  // namespace longattn
