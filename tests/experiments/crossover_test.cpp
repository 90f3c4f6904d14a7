#include "experiments/judge/crossover.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace longattn {
namespace {

using Kind = Crossover::Kind;

Estimate about(double value, double share) {
  return {value, value * (1 - share), value * (1 + share)};
}

// Ours: 1 + 4 n; theirs: n^2; equal at 2 + sqrt(5) = 4.236.
std::vector<CostPair> linear_against_quadratic(std::vector<Index> lengths, double share) {
  std::vector<CostPair> pairs;
  for (Index n : lengths) {
    const auto x = static_cast<double>(n);
    pairs.push_back({n, about(1 + 4 * x, share), about(x * x, share)});
  }
  return pairs;
}

TEST(Crossover, LiesBetweenTheLengthsThatAreToldApart) {
  const auto c = find_crossover(linear_against_quadratic({1, 2, 4, 8, 16}, 0.01));
  ASSERT_TRUE(c);
  EXPECT_EQ(c->kind, Kind::from);
  EXPECT_EQ(c->length.low, 4);
  EXPECT_EQ(c->length.high, 8);
  EXPECT_NEAR(c->length.value, 2 + std::sqrt(5.0), 0.05);  // nearly straight between 4 and 8
}

TEST(Crossover, GrowsWiderWithTheIntervals) {
  // At 4: 17 against 16, at 8: 33 against 64; with 35 % only 2 and 16 are told apart.
  const auto c = find_crossover(linear_against_quadratic({1, 2, 4, 8, 16}, 0.35));
  ASSERT_TRUE(c);
  EXPECT_EQ(c->kind, Kind::from);
  EXPECT_EQ(c->length.low, 2);
  EXPECT_EQ(c->length.high, 16);
}

TEST(Crossover, IsToldApartFromNeverEverywhereAndOpen) {
  EXPECT_EQ(find_crossover(linear_against_quadratic({1, 2}, 0.01))->kind, Kind::never);
  EXPECT_EQ(find_crossover(linear_against_quadratic({8, 16}, 0.01))->kind, Kind::everywhere);
  EXPECT_EQ(find_crossover(linear_against_quadratic({1, 4}, 0.1))->kind, Kind::open);
  EXPECT_FALSE(find_crossover({}));
}

TEST(Crossover, WithoutALengthAtWhichTheOtherWinsHasNoLowerEnd) {
  const auto c = find_crossover(linear_against_quadratic({4, 8}, 0.1));
  EXPECT_EQ(c->kind, Kind::from);
  EXPECT_EQ(c->length.low, 0);
  EXPECT_EQ(c->length.high, 8);
}

TEST(Crossover, CountsOnlyTheLastTimeThatItGetsCheaper) {
  const Estimate one = about(1, 0), two = about(2, 0);
  const std::vector<CostPair> pairs = {{1, one, two}, {2, two, one}, {4, one, two}};
  const auto c = find_crossover(pairs);
  EXPECT_EQ(c->kind, Kind::from);
  EXPECT_EQ(c->length.low, 2);
  EXPECT_EQ(c->length.high, 4);
  EXPECT_NEAR(c->length.value, std::sqrt(8.0), 1e-12);
}

}  // namespace
}  // namespace longattn
