#include "experiments/judge/two_samples.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace longattn {
namespace {

constexpr size_t kExactUpTo = 64;  // values in all: 10 million additions

// Twice the mid-rank of every value of the pooled sample, a first: whole numbers, also with ties.
std::vector<size_t> doubled_ranks(std::span<const double> a, std::span<const double> b) {
  std::vector<double> pooled(a.begin(), a.end());
  pooled.insert(pooled.end(), b.begin(), b.end());
  std::vector<double> sorted = pooled;
  std::ranges::sort(sorted);
  std::vector<size_t> ranks;
  for (double value : pooled) {
    const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), value);
    // Ranks first + 1 .. last, counted from one; twice their mean.
    ranks.push_back(static_cast<size_t>((first - sorted.begin()) + (last - sorted.begin()) + 1));
  }
  return ranks;
}

// ways[s]: the number of choices of `count` of the ranks whose sum is s.
std::vector<double> rank_sum_counts(const std::vector<size_t>& ranks, size_t count) {
  const size_t total = std::accumulate(ranks.begin(), ranks.end(), size_t{0});
  std::vector<std::vector<double>> ways(count + 1, std::vector<double>(total + 1, 0.0));
  ways[0][0] = 1;
  for (size_t rank : ranks) {
    for (size_t chosen = count; chosen > 0; --chosen) {
      for (size_t sum = total; sum >= rank; --sum) {
        ways[chosen][sum] += ways[chosen - 1][sum - rank];
      }
    }
  }
  return ways[count];
}

double two_sided_normal(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }

double normal_mann_whitney(const std::vector<size_t>& ranks, size_t n, double rank_sum) {
  const auto all = static_cast<double>(ranks.size()), dn = static_cast<double>(n);
  const double mean = (all + 1) / 2;
  double squares = 0;  // the variance of the ranks themselves takes ties into account
  for (size_t rank : ranks) squares += std::pow(static_cast<double>(rank) / 2 - mean, 2);
  const double variance = dn * (all - dn) / (all * (all - 1)) * squares;
  const double distance = std::max(0.0, std::abs(rank_sum - dn * mean) - 0.5);
  return variance > 0 ? two_sided_normal(distance / std::sqrt(variance)) : 1.0;
}

// The largest k >= 1 for which the k-th smallest and the k-th largest quotient bound an interval of
// at least 95 %, P(U < k) <= 0.025; 1 where there is none.
size_t interval_rank(size_t n, size_t m) {
  if (n + m > kExactUpTo) {
    const auto dn = static_cast<double>(n), dm = static_cast<double>(m);
    const double k = dn * dm / 2 - 1.96 * std::sqrt(dn * dm * (dn + dm + 1) / 12);
    return static_cast<size_t>(std::max(1.0, std::floor(k)));
  }
  std::vector<size_t> ranks(n + m);
  std::iota(ranks.begin(), ranks.end(), size_t{1});
  const std::vector<double> counts = rank_sum_counts(ranks, n);
  const double all = std::accumulate(counts.begin(), counts.end(), 0.0);
  const size_t least = n * (n + 1) / 2;  // the rank sum where U = 0
  double below = 0;
  size_t k = 0;
  while (least + k < counts.size() && (below += counts[least + k]) <= 0.025 * all) ++k;
  return std::max<size_t>(k, 1);
}

}  // namespace

double mann_whitney(std::span<const double> a, std::span<const double> b) {
  assert(!a.empty() && !b.empty());
  const std::vector<size_t> ranks = doubled_ranks(a, b);
  const size_t n = a.size(), seen = std::accumulate(ranks.begin(), ranks.begin() + n, size_t{0});
  if (ranks.size() > kExactUpTo) {
    return normal_mann_whitney(ranks, n, static_cast<double>(seen) / 2);
  }
  const std::vector<double> counts = rank_sum_counts(ranks, n);
  const auto from_mean = [&](size_t sum) {  // twice the mean of the sum is whole: n (all + 1)
    return std::abs(static_cast<std::ptrdiff_t>(sum) -
                    static_cast<std::ptrdiff_t>(n * (ranks.size() + 1)));
  };
  double extreme = 0, all = 0;
  for (size_t sum = 0; sum < counts.size(); ++sum) {
    all += counts[sum];
    if (from_mean(sum) >= from_mean(seen)) extreme += counts[sum];
  }
  return extreme / all;
}

double smallest_mann_whitney(Index n, Index m) {
  const auto dn = static_cast<double>(n), dm = static_cast<double>(m);
  return std::min(
      1.0, 2 * std::exp(std::lgamma(dn + 1) + std::lgamma(dm + 1) - std::lgamma(dn + dm + 1)));
}

Estimate ratio_of_samples(std::span<const double> a, std::span<const double> b) {
  assert(!a.empty() && !b.empty());
  std::vector<double> quotients;
  for (double before : a) {
    for (double after : b) quotients.push_back(after / before);
  }
  std::ranges::sort(quotients);
  const size_t count = quotients.size(), k = interval_rank(a.size(), b.size());
  return {(quotients[(count - 1) / 2] + quotients[count / 2]) / 2, quotients[k - 1],
          quotients[count - k]};
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t n) { return p[n]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    const double scaled = static_cast<double>(p.size() - rank) * p[order[rank]];
    largest = std::max(largest, std::min(1.0, scaled));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

}  // namespace longattn
