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

Index interval_rank(Index n, double confidence) {
  Index k = 1;
  while (k + 1 <= (n + 1) / 2 && coverage(n, k + 1) >= confidence) ++k;
  return k;
}

}  // namespace

double median_coverage(Index n) { return coverage(n, interval_rank(n, 0.95)); }

Estimate median_interval(std::span<const double> values, double confidence) {
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const auto n = static_cast<Index>(sorted.size());
  const Index k = interval_rank(n, confidence);
  return {median(values), sorted[static_cast<size_t>(k - 1)], sorted[static_cast<size_t>(n - k)]};
}

namespace {

// The logarithm of sum a / sum b over some rows, and its standard error: the residuals a - q b of
// the quotient q are what its sampling error is made of.
struct LogQuotient {
  double value = 0, error = 0;
};

LogQuotient log_quotient(std::span<const double> a, std::span<const double> b,
                         std::span<const size_t> rows) {
  double sum_a = 0, sum_b = 0, squares = 0;
  for (size_t n : rows) {
    sum_a += a[n];
    sum_b += b[n];
  }
  const double quotient = sum_a / sum_b;
  for (size_t n : rows) squares += (a[n] - quotient * b[n]) * (a[n] - quotient * b[n]);
  return {std::log(quotient), std::sqrt(squares) / sum_a};
}

double quantile(const std::vector<double>& sorted, double p) {
  return sorted[static_cast<size_t>(p * static_cast<double>(sorted.size() - 1) + 0.5)];
}

}  // namespace

Estimate bootstrap_ratio(std::span<const double> a, std::span<const double> b, double power,
                         std::uint64_t seed, Index resamples) {
  assert(!a.empty() && a.size() == b.size());
  std::vector<size_t> rows(a.size());
  std::iota(rows.begin(), rows.end(), size_t{0});
  const LogQuotient seen = log_quotient(a, b, rows);
  const double value = std::exp(power * seen.value);
  constexpr double kRounding = 1e-12;  // of equal quotients
  if (!(seen.error > kRounding)) return {value, value, value};
  std::vector<double> deviations, draws;
  bool whole = true;  // every draw has a logarithm and an error
  for (Index draw = 0; draw < resamples; ++draw) {
    const CounterRandom random(seed, make_stream(0xB007, static_cast<std::uint64_t>(draw)));
    for (size_t n = 0; n < rows.size(); ++n) {
      rows[n] = static_cast<size_t>(random.below(n, a.size()));
    }
    const LogQuotient drawn = log_quotient(a, b, rows);
    if (std::isnan(drawn.value)) continue;  // no weight in any row: says nothing
    whole = whole && std::isfinite(drawn.value) && drawn.error > kRounding;
    draws.push_back(drawn.value);
    deviations.push_back((drawn.value - seen.value) / drawn.error);
  }
  double low = 0, high = 0;
  if (whole) {
    std::ranges::sort(deviations);
    low = seen.value - quantile(deviations, 0.975) * seen.error;
    high = seen.value - quantile(deviations, 0.025) * seen.error;
  } else {
    std::ranges::sort(draws);
    low = quantile(draws, 0.025);
    high = quantile(draws, 0.975);
  }
  return {value, std::min(std::exp(power * low), value), std::max(std::exp(power * high), value)};
}

double share_no_worse(Index sampled_rows) {
  return std::pow(0.05, 1 / static_cast<double>(sampled_rows));
}

}  // namespace longattn
