// What Kitaev et al. 2020, section 2, says of hashing by random rotations.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <set>

#include "tests/variants/drawn_case.h"
#include "tests/variants/hashing.h"

namespace longattn {
namespace {

OptionTexts buckets_and_rounds(Index buckets, Index rounds, Index seed = 1) {
  return {
      {"num_buckets", text_of(buckets)}, {"num_hashes", text_of(rounds)}, {"seed", text_of(seed)}};
}

// How often a vector and one at an angle from it fall into one bucket, of 64 rounds and 40 seeds.
double collisions(Index buckets, double angle) {
  Problem p = problem_of(std::max<Index>(buckets, 2), 3);
  Tensor rows({1, 1, 2, 3});
  rows.floats()[0] = 1;
  rows.floats()[3] = static_cast<float>(std::cos(angle));
  rows.floats()[5] = static_cast<float>(std::sin(angle));
  double together = 0;
  for (Index seed = 0; seed < 40; ++seed) {
    for (const auto& round : hashed(p, buckets_and_rounds(buckets, 64, seed), rows.view())) {
      together += round[0] == round[1];
    }
  }
  return together / (64 * 40);
}
constexpr double kFiveDeviations = 2.5 / 50.6;  // at most, of a share of 2560

// With two buckets a direction r only tells sides of a plane: two vectors fall apart if the plane
// goes between them, which it does in angle / pi of all cases.
TEST(ReformerHash, TwoBucketsCollideWithProbabilityOneLessTheAngleOverPi) {
  for (const double angle : {0.0, 0.1, 0.7, 1.5707963, 2.5, 3.14159265}) {
    EXPECT_NEAR(collisions(2, angle), 1 - angle / std::numbers::pi, kFiveDeviations) << angle;
  }
  EXPECT_EQ(collisions(2, 0), 1);
}

// "Nearby vectors get the same hash with high probability and distant ones do not."
TEST(ReformerHash, ProbabilityOfACollisionRisesWithSimilarity) {
  for (const Index buckets : {4, 16, 64, 132}) {
    double before = 1;
    EXPECT_EQ(collisions(buckets, 0), 1);
    for (const double angle : {0.15, 0.5, 1.0}) {
      const double now = collisions(buckets, angle);
      EXPECT_LT(now, before - std::numbers::sqrt2 * kFiveDeviations)
          << buckets << " buckets, angle " << angle;
      before = now;
    }
    EXPECT_LT(collisions(buckets, 2.8), 0.02) << buckets;  // opposites lie in opposite buckets
  }
}

TEST(ReformerHash, HashKnowsNoLengthAndPutsOppositesIntoOppositeBuckets) {
  const Problem p = problem_of(300, 64);
  const Tensor rows = gaussian_tensor({1, 1, 300, 64}, 5);
  Tensor longer({1, 1, 300, 64}), opposite({1, 1, 300, 64});
  for (Index n = 0; n < rows.size(); ++n) {
    longer.floats()[n] = 4 * rows.floats()[n];
    opposite.floats()[n] = -rows.floats()[n];
  }
  for (const Index buckets : {2, 6, 128}) {
    const auto h = hashed(p, buckets_and_rounds(buckets, 12), rows.view());
    EXPECT_EQ(hashed(p, buckets_and_rounds(buckets, 12), longer.view()), h);
    const auto other = hashed(p, buckets_and_rounds(buckets, 12), opposite.view());
    std::set<Index> used;
    for (size_t round = 0; round < h.size(); ++round) {
      for (size_t n = 0; n < h[round].size(); ++n) {
        ASSERT_EQ(other[round][n], (h[round][n] + buckets / 2) % buckets);
        used.insert(h[round][n]);
      }
    }
    EXPECT_EQ(static_cast<Index>(used.size()), buckets) << "none is empty";
  }
}

// h = h_1 + factor_1 h_2, each of even factors of its own.
TEST(ReformerHash, ManyBucketsAreHashedInTwoEvenFactors) {
  const Problem p = problem_of(5000, 64);
  const OptionTexts options = buckets_and_rounds(192, 2);
  const LshSettings settings(p, Options(kReformer.options, options));
  EXPECT_EQ(settings.factors[0] * settings.factors[1], 192);
  const Tensor rows = gaussian_tensor({1, 1, 5000, 64}, 5);
  Tensor opposite({1, 1, 5000, 64});
  for (Index n = 0; n < rows.size(); ++n) opposite.floats()[n] = -rows.floats()[n];
  const auto h = hashed(p, options, rows.view()), other = hashed(p, options, opposite.view());
  std::set<Index> used;
  const Index first = settings.factors[0], second = settings.factors[1];
  for (size_t n = 0; n < h[0].size(); ++n) {
    const Index one = (h[0][n] % first + first / 2) % first,
                two = (h[0][n] / first + second / 2) % second;
    ASSERT_EQ(other[0][n], one + first * two);
    used.insert(h[0][n]);
  }
  EXPECT_EQ(used.size(), 192U);
}

TEST(ReformerHash, ARoundDependsOnSeedHeadAndItsNumberAlone) {
  const Tensor rows = gaussian_tensor({1, 1, 50, 4}, 5);
  const auto all = hashed(problem_of(50), buckets_and_rounds(8, 6), rows.view());
  const auto few = hashed(problem_of(50), buckets_and_rounds(8, 2), rows.view());
  EXPECT_EQ(few, (std::vector<std::vector<Index>>{all[0], all[1]}));
  Problem other = problem_of(900);
  other.batch = 3;
  EXPECT_EQ(hashed(other, buckets_and_rounds(8, 6), rows.view()), all);
  EXPECT_NE(hashed(problem_of(50), buckets_and_rounds(8, 6, 2), rows.view()), all);
  EXPECT_NE(all[0], all[1]);
}

}  // namespace
}  // namespace longattn
