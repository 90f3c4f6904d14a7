#include "core/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace longattn {
namespace {

using Words = std::array<std::uint32_t, 4>;

// Known answers published with Random123 1.09, file kat_vectors, lines "philox4x32 10".
TEST(CounterRandom, GivesThePublishedPhiloxAnswers) {
  constexpr std::uint64_t kOnes = ~std::uint64_t{0};
  EXPECT_EQ(CounterRandom(0, 0).block(0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(CounterRandom(kOnes, kOnes).block(kOnes),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0: the digits of pi.
  EXPECT_EQ(CounterRandom(0x299f31d0a4093822, 0x0370734413198a2e).block(0x85a308d3243f6a88),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRandom, SeedStreamAndCounterAllMatter) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed : {0, 1, 2}) {
    for (std::uint64_t stream : {0, 1, 2}) {
      for (std::uint64_t counter : {0, 1, 2}) {
        seen.insert(CounterRandom(seed, stream).bits(counter));
      }
    }
  }
  EXPECT_EQ(seen.size(), 27u);
}

// A mean of n uniforms deviates by more than 6 standard errors once in 5e8 seeds; this seed is
// fixed.
TEST(CounterRandom, UniformFillsTheOpenUnitInterval) {
  const CounterRandom random(7);
  constexpr int kDraws = 100'000;
  double sum = 0, low = 1, high = 0;
  for (std::uint64_t n = 0; n < kDraws; ++n) {
    const double x = random.uniform(n);
    low = std::min(low, x);
    high = std::max(high, x);
    sum += x;
  }
  EXPECT_GT(low, 0);
  EXPECT_LT(high, 1);
  EXPECT_LT(low, 20.0 / kDraws);
  EXPECT_GT(high, 1 - 20.0 / kDraws);
  EXPECT_NEAR(sum / kDraws, 0.5, 6 * std::sqrt(1.0 / 12 / kDraws));
}

TEST(CounterRandom, BelowIsEvenAndInRange) {
  const CounterRandom random(8);
  constexpr int kDraws = 70'000;
  std::array<int, 7> counts{};
  for (std::uint64_t n = 0; n < kDraws; ++n) {
    const std::uint64_t x = random.below(n, 7);
    ASSERT_LT(x, 7u);
    ++counts[x];
  }
  for (int count : counts) EXPECT_NEAR(count, kDraws / 7, 6 * std::sqrt(kDraws / 7.0));
  for (std::uint64_t n = 0; n < 100; ++n) EXPECT_EQ(random.below(n, 1), 0u);
}

TEST(CounterRandom, NormalHasTheMomentsOfTheNormalDistribution) {
  const CounterRandom random(9);
  constexpr int kDraws = 200'000;
  std::array<double, 5> moments{};
  double neighbours = 0;
  for (std::uint64_t n = 0; n < kDraws; ++n) {
    const double x = random.normal(n);
    for (int power = 1; power <= 4; ++power) moments[power] += std::pow(x, power) / kDraws;
    if (n % 2 == 1) neighbours += x * random.normal(n - 1) / (kDraws / 2);
  }
  // Variances of the sample moments: 1, 2, 15 and 96 over n.
  EXPECT_NEAR(moments[1], 0, 6 * std::sqrt(1.0 / kDraws));
  EXPECT_NEAR(moments[2], 1, 6 * std::sqrt(2.0 / kDraws));
  EXPECT_NEAR(moments[3], 0, 6 * std::sqrt(15.0 / kDraws));
  EXPECT_NEAR(moments[4], 3, 6 * std::sqrt(96.0 / kDraws));
  EXPECT_NEAR(neighbours, 0, 6 * std::sqrt(2.0 / kDraws));  // cosine and sine of one block
}

TEST(MakeStream, DependsOnEachPartAndItsPlace) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t a = 0; a < 4; ++a) {
    for (std::uint64_t b = 0; b < 4; ++b) {
      for (std::uint64_t c = 0; c < 4; ++c) {
        for (std::uint64_t d = 0; d < 4; ++d) seen.insert(make_stream(a, b, c, d));
      }
    }
  }
  EXPECT_EQ(seen.size(), 256u);
}

TEST(Permuted, IsAPermutationForEverySize) {
  const auto check = [](Index size) {
    std::vector<bool> taken(static_cast<size_t>(size));
    const CounterRandom random(3, static_cast<std::uint64_t>(size));
    for (Index n = 0; n < size; ++n) {
      const Index x = permuted(random, size, n);
      ASSERT_TRUE(0 <= x && x < size) << size;
      ASSERT_FALSE(taken[static_cast<size_t>(x)]) << size << " gives " << x << " twice";
      taken[static_cast<size_t>(x)] = true;
    }
  };
  for (Index size = 1; size <= 300; ++size) check(size);
  for (Index size : {1023, 1024, 1025, 4095, 4096, 4097, 65537}) check(size);
}

TEST(Permuted, SeedsGiveDifferentOrdersAndNoPlaceIsFavoured) {
  constexpr Index kSize = 10;
  constexpr int kSeeds = 5000;
  std::array<std::array<int, kSize>, kSize> counts{};
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const CounterRandom random(seed);
    for (Index n = 0; n < kSize; ++n) {
      ++counts[static_cast<size_t>(n)][static_cast<size_t>(permuted(random, kSize, n))];
    }
  }
  for (const auto& row : counts) {
    for (int count : row) EXPECT_NEAR(count, kSeeds / kSize, 6 * std::sqrt(kSeeds * 0.09));
  }
}

// Where a permutation is of few places, two of its elements must not know each other either: every
// ordered pair of different places is as likely as any other.
TEST(Permuted, NoPairOfPlacesIsFavoured) {
  constexpr int kSeeds = 20000;
  for (const Index size : {3, 4, 5, 8, 11, 16, 17, 40, 64}) {
    const auto places = static_cast<size_t>(size);
    std::vector<double> pairs(places * places), distances(places);
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      const CounterRandom random(seed, 7);
      const auto a = static_cast<size_t>(permuted(random, size, 0)),
                 b = static_cast<size_t>(permuted(random, size, 1));
      ++pairs[a * places + b];
      ++distances[(b + places - a) % places];
    }
    // Chi squared has mean `degrees` and variance 2 degrees; 6 deviations, and more for its tail.
    const auto expect_even = [&](const std::vector<double>& counts, size_t kinds) {
      const double each = static_cast<double>(kSeeds) / static_cast<double>(kinds),
                   degrees = static_cast<double>(kinds - 1);
      double chi_squared = -each * static_cast<double>(counts.size() - kinds);  // that cannot be
      for (const double count : counts) chi_squared += (count - each) * (count - each) / each;
      EXPECT_LT(chi_squared, degrees + 6 * std::sqrt(2 * degrees) + 12) << size;
    };
    expect_even(pairs, places * (places - 1));
    expect_even(distances, places - 1);
  }
}

}  // namespace
}  // namespace longattn
