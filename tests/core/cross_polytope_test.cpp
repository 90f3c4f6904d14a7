#include "core/cross_polytope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/random.h"

namespace longattn {
namespace {

std::vector<float> normals(Index count, std::uint64_t seed) {
  const CounterRandom random(seed);
  std::vector<float> numbers;
  for (Index n = 0; n < count; ++n) {
    numbers.push_back(static_cast<float>(random.normal(static_cast<std::uint64_t>(n))));
  }
  return numbers;
}

std::int32_t hash(const std::vector<float>& vector, const std::vector<float>& directions) {
  const auto depth = static_cast<Index>(vector.size());
  return cross_polytope(depth, vector.data(), directions.data(),
                        static_cast<Index>(directions.size()) / depth);
}

// The first of the largest among the products and their negatives, listed as the formula does.
std::int32_t plain_hash(const std::vector<float>& vector, const std::vector<float>& directions) {
  const size_t depth = vector.size(), half = directions.size() / depth;
  std::vector<double> candidates;
  for (double sign : {1.0, -1.0}) {
    for (size_t c = 0; c < half; ++c) {
      double sum = 0;
      for (size_t k = 0; k < depth; ++k) {
        sum += double{vector[k]} * double{directions[k * half + c]};
      }
      candidates.push_back(sign * sum);
    }
  }
  return static_cast<std::int32_t>(std::ranges::max_element(candidates) - candidates.begin());
}

// Buckets of vectors by float32 products, summed in order or in reverse, and decided by `decide`.
std::vector<std::int32_t> decided(DecideCrossPolytope decide,
                                  const std::vector<std::vector<float>>& vectors,
                                  const std::vector<float>& directions, bool reverse) {
  const size_t depth = vectors.front().size(), half = directions.size() / depth;
  double longest = 0;
  for (size_t c = 0; c < half; ++c) {
    double square = 0;
    for (size_t k = 0; k < depth; ++k) {
      square += double{directions[k * half + c]} * double{directions[k * half + c]};
    }
    longest = std::max(longest, std::sqrt(square) * (1 + 0x1p-40));
  }
  const CrossPolytopeUncertainty of_squares(static_cast<Index>(depth), longest);
  std::vector<float> products(half * kHashVectors), uncertainty;
  for (size_t n = 0; n < kHashVectors; ++n) {
    float squares = 0;
    for (float x : vectors[n]) squares += x * x;
    uncertainty.push_back(of_squares(squares));
    for (size_t c = 0; c < half; ++c) {
      float sum = 0;
      for (size_t k = 0; k < depth; ++k) {
        const size_t at = reverse ? depth - 1 - k : k;
        sum += vectors[n][at] * directions[at * half + c];
      }
      products[c * kHashVectors + n] = sum;
    }
  }
  std::vector<std::int32_t> buckets(kHashVectors);
  decide(static_cast<Index>(half), products.data(), uncertainty.data(), buckets.data());
  return buckets;
}

TEST(CrossPolytope, IsTheArgmaxOfTheFormula) {
  for (Index depth : {1, 7, 64}) {
    for (Index half : {1, 2, 3, 8, 13, 64}) {
      for (std::uint64_t seed = 1; seed < 100; ++seed) {
        const std::vector<float> vector = normals(depth, seed);
        const std::vector<float> directions = normals(depth * half, seed + 1000);
        EXPECT_EQ(hash(vector, directions), plain_hash(vector, directions));
      }
    }
  }
}

TEST(CrossPolytope, GivesTiesToTheLowestIndex) {
  // Directions 0 and 1 are the same, 2 is the opposite of both.
  const std::vector<float> directions = {1, 1, -1};
  EXPECT_EQ(hash({2}, directions), 0);
  EXPECT_EQ(hash({-2}, directions), 2);
  EXPECT_EQ(hash({0}, directions), 0);
}

TEST(CrossPolytope, DependsOnDirectionsAloneAndSendsTheOppositeToTheOppositeBucket) {
  const std::vector<float> directions = normals(16 * 5, 2);
  for (std::uint64_t seed = 10; seed < 50; ++seed) {
    const std::vector<float> vector = normals(16, seed);
    std::vector<float> scaled = vector, opposite = vector;
    for (float& x : scaled) x *= 8;
    for (float& x : opposite) x = -x;
    EXPECT_EQ(hash(scaled, directions), hash(vector, directions));
    EXPECT_EQ((hash(opposite, directions) + 5) % 10, hash(vector, directions));
  }
}

TEST(CrossPolytope, SendsNotANumberToBucketZero) {
  std::vector<float> vector = normals(3, 1);
  vector[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(hash(vector, normals(3 * 9, 2)), 0);
}

TEST(DecideCrossPolytope, IsRightWhereItDecidesOnEveryInstructionSet) {
  ASSERT_FALSE(available_decide_cross_polytopes().empty());
  for (DecideCrossPolytope decide : available_decide_cross_polytopes()) {
    for (Index depth : {1, 7, 64}) {
      for (Index half : {1, 2, 3, 8, 64}) {
        // The last direction nearly is the first, nearer with every step: sums in float32 cannot
        // tell them apart any more, and must not try.
        for (int step = 0; step < 30; ++step) {
          std::vector<float> directions = normals(depth * half, 7);
          for (Index k = 0; k < depth; ++k) {
            const float first = directions[static_cast<size_t>(k * half)];
            directions[static_cast<size_t>(k * half + half - 1)] =
                first + std::ldexp(directions[static_cast<size_t>(k * half + half - 1)], -step);
          }
          std::vector<std::vector<float>> vectors;
          for (Index n = 0; n < kHashVectors; ++n) {
            vectors.push_back(normals(depth, static_cast<std::uint64_t>(100 + n)));
            // Long ones and short ones, whose squares or products overflow or underflow.
            for (float& x : vectors.back()) x = std::ldexp(x, static_cast<int>(n % 8) * 40 - 145);
          }
          for (bool reverse : {false, true}) {
            const std::vector<std::int32_t> found = decided(decide, vectors, directions, reverse);
            for (size_t n = 0; n < vectors.size(); ++n) {
              if (found[n] >= 0) EXPECT_EQ(found[n], hash(vectors[n], directions)) << n;
            }
          }
        }
      }
    }
  }
}

TEST(DecideCrossPolytope, DecidesNearlyAllVectorsAndNoTies) {
  const std::vector<float> directions = normals(64 * 8, 1);
  for (DecideCrossPolytope decide : available_decide_cross_polytopes()) {
    Index undecided = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
      std::vector<std::vector<float>> vectors;
      for (std::uint64_t n = 0; n < kHashVectors; ++n) {
        vectors.push_back(normals(64, 100 + 32 * seed + n));
      }
      for (std::int32_t bucket : decided(decide, vectors, directions, false)) {
        undecided += bucket < 0 ? 1 : 0;
      }
    }
    // A gap between the two largest of eight is below 10^-3 of the deviation about once in 10^3.
    EXPECT_LT(undecided, 32);

    std::vector<std::vector<float>> special(kHashVectors, {0.0f, 0.0f});
    special[1][0] = std::numeric_limits<float>::quiet_NaN();
    special[2][1] = std::numeric_limits<float>::infinity();
    special[3] = {1, 0};  // as near to the first direction as to the second
    for (std::int32_t bucket : decided(decide, special, {1, 1, 0, 2}, false)) {
      EXPECT_EQ(bucket, -1);
    }
  }
}

}  // namespace
}  // namespace longattn
