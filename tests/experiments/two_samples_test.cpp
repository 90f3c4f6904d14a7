#include "experiments/judge/two_samples.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"

namespace longattn {
namespace {

using Sample = std::vector<double>;

Sample log_normal(std::uint64_t stream, Index count, double median, double sigma) {
  const CounterRandom random(11, stream);
  Sample values;
  for (Index n = 0; n < count; ++n) {
    values.push_back(median * std::exp(sigma * random.normal(static_cast<std::uint64_t>(n))));
  }
  return values;
}

TEST(MannWhitney, IsTheShareOfSplitsThatAreAsFarApart) {
  // Of the 10 choices of 3 out of 5 ranks, {1,2,3} and {3,4,5} have sums 6 and 12: 2 of 10.
  EXPECT_DOUBLE_EQ(mann_whitney(Sample{1, 2, 3}, Sample{4, 5}), 0.2);
  EXPECT_DOUBLE_EQ(mann_whitney(Sample{4, 5}, Sample{1, 2, 3}), 0.2);
  // Sums of 2 out of {1,2,3,4}: 3 4 5 5 6 7; {1,3} has 4, one from the mean of 5: 4 of 6 are.
  EXPECT_DOUBLE_EQ(mann_whitney(Sample{10, 30}, Sample{20, 40}), 4.0 / 6);
}

TEST(MannWhitney, CountsTiesByMidRanks) {
  EXPECT_DOUBLE_EQ(mann_whitney(Sample{1, 1}, Sample{1, 1}), 1);
  // Ranks 1.5 1.5 3 4; sums of two: 3 4.5 4.5 5.5 5.5 7; {1.5, 1.5} is as far from 5 as {3, 4}.
  EXPECT_DOUBLE_EQ(mann_whitney(Sample{1, 1}, Sample{2, 3}), 2.0 / 6);
}

TEST(MannWhitney, OfNineRoundsReachesTheSmallestValueThatThereIs) {
  const Sample a = log_normal(1, 9, 1, 0.01), b = log_normal(2, 9, 2, 0.01);
  EXPECT_NEAR(mann_whitney(a, b), 2.0 / 48620, 1e-15);
  EXPECT_NEAR(smallest_mann_whitney(9, 9), 2.0 / 48620, 1e-15);
  EXPECT_EQ(smallest_mann_whitney(0, 0), 1);
  EXPECT_NEAR(smallest_mann_whitney(3, 3), 0.1, 1e-15);
}

// One value more, in the middle of all, hardly changes what 32 against 32 say; the normal
// approximation takes over there.
TEST(MannWhitney, IsContinuousWhereTheApproximationBegins) {
  const Sample a = log_normal(3, 32, 1, 0.5);
  Sample b = log_normal(4, 32, 1.3, 0.5);
  const double exact = mann_whitney(a, b);
  b.push_back(1.14);
  EXPECT_NEAR(mann_whitney(a, b) / exact, 1, 0.1) << exact;
  EXPECT_LT(exact, 0.9);
}

TEST(RatioOfSamples, IsTheMedianQuotientBetweenOrderStatistics) {
  // Quotients of {1, 2} and {2, 8}: 1 2 4 8. Too few for an interval of 95 %: all of them.
  const Estimate e = ratio_of_samples(Sample{1, 2}, Sample{2, 8});
  EXPECT_EQ(e.value, 3);
  EXPECT_EQ(e.low, 1);
  EXPECT_EQ(e.high, 8);
  // Five against five: the critical value of U at 5 % is 2, the third smallest of 25 quotients.
  const Estimate five = ratio_of_samples(Sample{1, 1, 1, 1, 1}, Sample{1, 2, 3, 4, 5});
  EXPECT_EQ(five.low, 1);
  EXPECT_EQ(five.value, 3);
  EXPECT_EQ(five.high, 5);
  const Estimate apart = ratio_of_samples(Sample{1, 10, 100, 1000, 10000}, Sample{1, 1, 1, 1, 1});
  EXPECT_EQ(apart.low, 1e-4);
  EXPECT_EQ(apart.high, 1);
}

// By theory 96.0 % (P(U <= 17) = 0.0200 on each side); three standard errors below 95 % fails.
TEST(RatioOfSamples, CoversTheTrueRatioAsOftenAsItSays) {
  constexpr int kRepeats = 1000;
  int covered = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto stream = static_cast<std::uint64_t>(2 * repeat);
    const Estimate e =
        ratio_of_samples(log_normal(stream, 9, 1, 1), log_normal(stream + 1, 9, 1.5, 1));
    covered += e.low <= 1.5 && 1.5 <= e.high ? 1 : 0;
  }
  EXPECT_GE(covered, (0.95 - 3 * std::sqrt(0.05 * 0.95 / kRepeats)) * kRepeats);
  EXPECT_LT(covered, kRepeats) << "an interval that always covers says nothing";
}

TEST(Holm, MultipliesByHowManyAreLeft) {
  const std::vector<double> adjusted = holm(Sample{0.01, 0.04, 0.03, 0.005});
  const std::vector<double> expected = {0.03, 0.06, 0.06, 0.02};
  ASSERT_EQ(adjusted.size(), expected.size());
  for (size_t n = 0; n < expected.size(); ++n) EXPECT_NEAR(adjusted[n], expected[n], 1e-15);
  EXPECT_EQ(holm(Sample{0.9, 0.8}), (std::vector<double>{1, 1}));
}

}  // namespace
}  // namespace longattn
