#include "core/cross_polytope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "core/random.h"

namespace longattn {
namespace {

// Float32 numbers held as double.
std::vector<double> floats(Index count, std::uint64_t seed) {
  const CounterRandom random(seed);
  std::vector<double> numbers;
  for (Index n = 0; n < count; ++n) {
    numbers.push_back(
        static_cast<double>(static_cast<float>(random.normal(static_cast<std::uint64_t>(n)))));
  }
  return numbers;
}

std::vector<std::int32_t> hash(const std::vector<double>& vectors,
                               const std::vector<double>& directions,
                               CrossPolytope function = cross_polytope()) {
  const auto depth = static_cast<Index>(vectors.size()) / kHashVectors;
  std::vector<std::int32_t> buckets(kHashVectors);
  function(depth, vectors.data(), directions.data(), static_cast<Index>(directions.size()) / depth,
           buckets.data());
  return buckets;
}

// As the formula says, one vector after the other.
std::vector<std::int32_t> plain_hash(const std::vector<double>& vectors,
                                     const std::vector<double>& directions) {
  const auto depth = static_cast<Index>(vectors.size()) / kHashVectors;
  const Index half = static_cast<Index>(directions.size()) / depth;
  std::vector<std::int32_t> buckets;
  for (Index r = 0; r < kHashVectors; ++r) {
    std::vector<double> candidates;
    for (double sign : {1.0, -1.0}) {
      for (Index c = 0; c < half; ++c) {
        double sum = 0;
        for (Index k = 0; k < depth; ++k) {
          sum += vectors[static_cast<size_t>(k * kHashVectors + r)] *
                 directions[static_cast<size_t>(k * half + c)];
        }
        candidates.push_back(sign * sum);
      }
    }
    buckets.push_back(
        static_cast<std::int32_t>(std::ranges::max_element(candidates) - candidates.begin()));
  }
  return buckets;
}

TEST(CrossPolytope, IsTheArgmaxOfTheFormulaOnEveryInstructionSet) {
  ASSERT_FALSE(available_cross_polytopes().empty());
  for (Index depth : {1, 7, 64}) {
    for (Index half : {1, 2, 3, 8, 13, 64}) {
      for (std::uint64_t seed = 1; seed < 20; ++seed) {
        const std::vector<double> vectors = floats(depth * kHashVectors, seed);
        const std::vector<double> directions = floats(depth * half, seed + 1000);
        for (CrossPolytope function : available_cross_polytopes()) {
          EXPECT_EQ(hash(vectors, directions, function), plain_hash(vectors, directions));
        }
      }
    }
  }
}

TEST(CrossPolytope, GivesTiesToTheLowestIndex) {
  // Directions 0 and 1 are the same, 2 is the opposite of both.
  const std::vector<double> directions = {1, 1, -1};
  const std::vector<double> vectors = {2, -2, 0, 1, -1, 0.5, 3, -3};
  for (CrossPolytope function : available_cross_polytopes()) {
    EXPECT_EQ(hash(vectors, directions, function),
              (std::vector<std::int32_t>{0, 2, 0, 0, 2, 0, 0, 2}));
  }
}

TEST(CrossPolytope, DependsOnDirectionsAloneAndSendsTheOppositeToTheOppositeBucket) {
  const std::vector<double> vectors = floats(16 * kHashVectors, 1), directions = floats(16 * 5, 2);
  const std::vector<std::int32_t> buckets = hash(vectors, directions);
  std::vector<double> scaled = vectors, opposite = vectors;
  for (double& x : scaled) x *= 8;
  for (double& x : opposite) x = -x;
  EXPECT_EQ(hash(scaled, directions), buckets);
  const std::vector<std::int32_t> far = hash(opposite, directions);
  for (size_t n = 0; n < buckets.size(); ++n) EXPECT_EQ((far[n] + 5) % 10, buckets[n]);
}

TEST(CrossPolytope, SendsNotANumberToBucketZero) {
  std::vector<double> vectors = floats(3 * kHashVectors, 1);
  vectors[kHashVectors + 4] = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::int32_t> buckets = hash(vectors, floats(3 * 9, 2));
  EXPECT_EQ(buckets[4], 0);
}

}  // namespace
}  // namespace longattn
