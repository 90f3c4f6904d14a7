#include "core/kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace longattn {
namespace {

// Every 97th float of the whole domain: some 11 million arguments.
TEST(Exp2, StaysWithinItsStatedErrorOverTheWholeDomain) {
  const auto& kernel = kernels::best();
  constexpr Index kBatch = 4096;
  std::vector<float> x(kBatch), y(kBatch);
  double worst = 0;
  for (const float end : {-126.0f, std::nextafter(127.5f, 0.0f)}) {
    const auto last = std::bit_cast<std::uint32_t>(end);
    const std::uint32_t first = std::bit_cast<std::uint32_t>(end < 0 ? -0.0f : 0.0f);
    for (std::uint64_t bits = first; bits <= last;) {
      Index n = 0;
      for (; n < kBatch && bits <= last; ++n, bits += 97) {
        x[n] = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      }
      kernel.exp2(x.data(), n, y.data());
      for (Index k = 0; k < n; ++k) {
        const double exact = std::exp2(static_cast<double>(x[k]));
        worst = std::max(worst, std::abs(y[k] - exact) / exact);
      }
    }
  }
  EXPECT_LE(worst, 2.5e-7);
  EXPECT_GE(worst, 5e-8) << "an error below the polynomial's own means that nothing was tested";
}

TEST(Exp2, FlushesBelowTheSmallestNormalAndKeepsNaN) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {-126.5f, -200.0f, -infinity, std::nanf(""), 0.0f};
  std::vector<float> y(x.size());
  kernels::best().exp2(x.data(), static_cast<Index>(x.size()), y.data());
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[1], 0);
  EXPECT_EQ(y[2], 0);
  EXPECT_TRUE(std::isnan(y[3]));
  EXPECT_NEAR(y[4], 1, 2.5e-7);
}

TEST(SoftmaxRow, OfHiddenScoresAloneAddsNothing) {
  std::vector<float> scores(32, -std::numeric_limits<float>::infinity());
  float maximum = -std::numeric_limits<float>::infinity(), sum = 0;
  EXPECT_EQ(kernels::best().softmax_row(scores.data(), 32, &maximum, &sum), 1);
  EXPECT_EQ(sum, 0);
  for (float p : scores) EXPECT_EQ(p, 0);
}

TEST(SoftmaxRow, ReturnsTheFactorByWhichTheMaximumMoved) {
  std::vector<float> scores(64, 3.0f);
  float maximum = 1, sum = 10;
  const float factor = kernels::best().softmax_row(scores.data(), 64, &maximum, &sum);
  EXPECT_NEAR(factor, 0.25f, 1e-6);
  EXPECT_EQ(maximum, 3);
  EXPECT_NEAR(sum, 10 * 0.25 + 64, 1e-4);
}

TEST(PackPanel, TransposesAndPadsWithZeros) {
  constexpr Index kDepth = 7, kCount = 13;
  std::vector<std::vector<float>> rows(kCount, std::vector<float>(kDepth));
  std::vector<const float*> pointers;
  for (Index c = 0; c < kCount; ++c) {
    for (Index k = 0; k < kDepth; ++k) rows[c][k] = static_cast<float>(100 * c + k);
    pointers.push_back(rows[c].data());
  }
  std::vector<float> panel(kDepth * kernels::kPanel, -1);
  kernels::best().pack_panel(pointers.data(), kCount, kDepth, panel.data());
  for (Index k = 0; k < kDepth; ++k) {
    for (Index c = 0; c < kernels::kPanel; ++c) {
      EXPECT_EQ(panel[k * kernels::kPanel + c], c < kCount ? rows[c][k] : 0.0f);
    }
  }
}

TEST(AllFinite, FindsOneOddElementAnywhere) {
  for (Index length : {1, 15, 16, 17, 33}) {
    std::vector<float> row(length, 1e38f);
    EXPECT_TRUE(kernels::best().all_finite(row.data(), length));
    for (Index n = 0; n < length; ++n) {
      for (float odd : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
        row[n] = odd;
        EXPECT_FALSE(kernels::best().all_finite(row.data(), length)) << n << " of " << length;
        row[n] = 1;
      }
    }
  }
}

}  // namespace
}  // namespace longattn
