#include "core/kernels.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace longattn {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// Every test runs on every instruction set that this machine has.
class KernelsTest : public testing::TestWithParam<const kernels::Kernels*> {
 protected:
  const kernels::Kernels& kernels() const { return *GetParam(); }
};
std::vector<const kernels::Kernels*> available() {
  std::vector<const kernels::Kernels*> pointers;
  for (const kernels::Kernels& kernels : kernels::available()) pointers.push_back(&kernels);
  return pointers;
}
std::string target_name(const testing::TestParamInfo<const kernels::Kernels*>& instance) {
  const bool best = instance.param == &kernels::best();
  return std::string(instance.param->target) + (best ? "_best" : "");
}

class Softmax : public KernelsTest {
 protected:
  // Both kinds of words.
  std::array<const kernels::TileKernels*, 2> tiles() const {
    return {&kernels().float32, &kernels().bfloat16};
  }
  // Column c of a row of words that the softmax left, as kernels.h says where it is.
  static float probability(Index pair, const std::vector<float>& row, Index c) {
    if (pair == 1) return row[c];
    const auto bits = std::bit_cast<std::uint32_t>(row[c / 32 * 16 + c % 16]);
    return std::bit_cast<float>(c % 32 < 16 ? bits << 16 : bits & 0xFFFF0000u);
  }
};
using Exp2 = KernelsTest;
using TilesOfFloats = KernelsTest;
using TilesOfPairs = KernelsTest;
using Dots = KernelsTest;
using PackPanel = KernelsTest;
using PackStrip = KernelsTest;
using Hide = KernelsTest;
using AllFinite = KernelsTest;
#define ON_EVERY_TARGET(suite) \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::ValuesIn(available()), target_name)
ON_EVERY_TARGET(Exp2);
ON_EVERY_TARGET(Softmax);
ON_EVERY_TARGET(TilesOfFloats);
ON_EVERY_TARGET(TilesOfPairs);
ON_EVERY_TARGET(Dots);
ON_EVERY_TARGET(PackPanel);
ON_EVERY_TARGET(PackStrip);
ON_EVERY_TARGET(Hide);
ON_EVERY_TARGET(AllFinite);

// Every 97th float of the whole domain: some 11 million arguments.
TEST_P(Exp2, StaysWithinItsStatedErrorOverTheWholeDomain) {
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
      kernels().exp2(x.data(), n, y.data());
      for (Index k = 0; k < n; ++k) {
        const double exact = std::exp2(static_cast<double>(x[k]));
        worst = std::max(worst, std::abs(y[k] - exact) / exact);
      }
    }
  }
  EXPECT_LE(worst, 2.5e-7);
  EXPECT_GE(worst, 5e-8) << "an error below the polynomial's own means that nothing was tested";
}

TEST_P(Exp2, IsZeroFarBelowTheSmallestNormalAndExactAtZeroAndKeepsNaN) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float payload = std::bit_cast<float>(0x7FC01234u);
  const std::vector<float> x = {-127.5f, -200.0f,        -infinity, std::nanf(""),
                                payload, -std::nanf(""), 0.0f,      -0.0f};
  std::vector<float> y(x.size());
  kernels().exp2(x.data(), static_cast<Index>(x.size()), y.data());
  for (int n : {0, 1, 2}) EXPECT_EQ(y[n], 0) << x[n];
  for (int n : {3, 4, 5}) EXPECT_TRUE(std::isnan(y[n])) << n;
  for (int n : {6, 7}) EXPECT_EQ(y[n], 1);
}

TEST_P(Exp2, NeverExceedsTheSmallestNormalBelowIt) {
  std::vector<float> x, y;
  for (float value = -126; value >= -128; value -= 0x1p-10f) x.push_back(value);
  y.resize(x.size());
  kernels().exp2(x.data(), static_cast<Index>(x.size()), y.data());
  for (size_t n = 0; n < x.size(); ++n) {
    EXPECT_GE(y[n], 0) << x[n];
    EXPECT_LE(y[n], 0x1.00001p-126f) << x[n];
  }
}

TEST_P(Softmax, OfHiddenScoresAloneAddsNothing) {
  for (const kernels::TileKernels* kind : tiles()) {
    std::vector<float> scores(32, kNothing);
    float maximum = kNothing, sum = 0, correction = 0;
    kind->softmax(1, 32, 1, scores.data(), 32, &maximum, &sum, &correction);
    EXPECT_EQ(correction, 1);
    EXPECT_EQ(sum, 0);
    for (Index c = 0; c < 32; ++c) EXPECT_EQ(probability(kind->pair, scores, c), 0);
  }
}

TEST_P(Softmax, CorrectsOnlyWhereTheMaximumMoved) {
  for (const kernels::TileKernels* kind : tiles()) {
    std::vector<float> scores(3 * 64, 1.5f);  // three rows
    std::vector<float> maximum = {1, 3, 7}, sum = {10, 10, 10}, correction(3);
    kind->softmax(3, 64, 2, scores.data(), 64, maximum.data(), sum.data(), correction.data());
    EXPECT_NEAR(correction[0], 0.25f, 1e-6);
    EXPECT_EQ(correction[1], 1);
    EXPECT_EQ(correction[2], 1);
    EXPECT_EQ(maximum, (std::vector<float>{3, 3, 7}));
    EXPECT_NEAR(sum[0], 10 * 0.25 + 64, 1e-4);
    EXPECT_NEAR(sum[1], 10 + 64, 1e-4);
    EXPECT_NEAR(sum[2], 10 + 64.0 / 16, 1e-4);
  }
}

TEST_P(Softmax, PutsEachProbabilityWhereItsValueWillBe) {
  for (const kernels::TileKernels* kind : tiles()) {
    std::vector<float> scores(96);
    for (Index c = 0; c < 96; ++c) scores[c] = -0.125f * static_cast<float>((c * 37) % 96);
    const std::vector<float> before = scores;
    float maximum = kNothing, sum = 0, correction = 0;
    kind->softmax(1, 96, 1, scores.data(), 96, &maximum, &sum, &correction);
    double total = 0;
    const double unit = kind->pair == 1 ? 2.5e-7 : 0x1p-8;
    for (Index c = 0; c < 96; ++c) {
      const double exact = std::exp2(static_cast<double>(before[c]));
      EXPECT_NEAR(probability(kind->pair, scores, c), exact, unit * exact) << c;
      total += probability(kind->pair, scores, c);
    }
    EXPECT_NEAR(sum, total, 1e-6 * total) << "the sum is of what was rounded";
  }
}

// Strips of every height against some half panels, and products with values of every width, on
// small integers, which every step holds exactly; what lies beside the result stays.
TEST_P(TilesOfFloats, MultiplyExactly) {
  const kernels::TileKernels& tiles = kernels().float32;
  constexpr Index kDepth = 5, kColumns = 64;
  const auto element = [](Index n) { return static_cast<float>((n * 7) % 11 - 5); };
  std::vector<float> strip(kDepth * kernels::kTallStrip), panels(kDepth * kColumns);
  for (size_t n = 0; n < strip.size(); ++n) strip[n] = element(static_cast<Index>(n));
  for (size_t n = 0; n < panels.size(); ++n) panels[n] = element(static_cast<Index>(3 * n));
  for (Index rows = 1; rows <= kernels::kTallStrip; ++rows) {
    for (Index stride : {kColumns, kernels::kScoreStride}) {
      for (const kernels::ColumnRange range :
           {kernels::ColumnRange{0, 64}, {16, 48}, {16, 32}, {32, 64}}) {
        std::vector<float> scores(kernels::kTallStrip * stride, 1);
        tiles.scores(rows, kDepth, strip.data(), panels.data(), range, scores.data(), stride, true,
                     nullptr);
        for (Index r = 0; r < rows; ++r) {
          for (Index c = 0; c < kColumns; ++c) {
            float expected = 1;
            for (Index k = 0; k < kDepth && c >= range.begin && c < range.end; ++k) {
              expected += strip[k * rows + r] * panels[(c / 32 * kDepth + k) * 32 + c % 32];
            }
            ASSERT_EQ(scores[r * stride + c], expected) << rows << ": " << r << ", " << c;
          }
        }
      }
    }
    for (Index width = kernels::kRowPad; width <= 200; width += kernels::kRowPad) {
      std::vector<float> values(kDepth * width), output(kernels::kTallStrip * (width + 1), 1);
      for (size_t n = 0; n < values.size(); ++n) values[n] = element(static_cast<Index>(2 * n));
      tiles.accumulate(rows, kDepth, strip.data(), kDepth, values.data(), width, width,
                       output.data(), width + 1);
      for (Index r = 0; r < kernels::kTallStrip; ++r) {
        for (Index c = 0; c <= width; ++c) {
          float expected = 1;
          for (Index k = 0; k < kDepth && r < rows && c < width; ++k) {
            expected += strip[r * kDepth + k] * values[k * width + c];
          }
          ASSERT_EQ(output[r * (width + 1) + c], expected) << rows << ": " << r << ", " << c;
        }
      }
    }
  }
}

// One strip against two panels, and the product of its scores (as words) with values, on small
// integers, which every step holds exactly.
TEST_P(TilesOfPairs, MultiplyAsTheirElements) {
  const kernels::TileKernels& tiles = kernels().bfloat16;
  constexpr Index kRows = 12, kDepth = 5, kColumns = 64;
  const auto element = [](Index n) { return static_cast<float>((n * 7) % 11 - 5); };
  const auto word = [](float low, float high) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(float_to_bfloat16(high)) << 16 |
                                float_to_bfloat16(low));
  };
  for (Index rows = 1; rows <= kRows; ++rows) {
    std::vector<float> strip(kDepth * rows), panels(kDepth * kColumns);
    for (Index k = 0; k < kDepth; ++k) {
      for (Index r = 0; r < rows; ++r) {
        strip[k * rows + r] = word(element(r + 20 * k), element(r + 20 * k + 10));
      }
      for (Index c = 0; c < kColumns; ++c) {
        panels[(c / 32 * kDepth + k) * 32 + c % 32] =
            word(element(3 * c + k), element(3 * c + k + 1));
      }
    }
    std::vector<float> scores(kRows * kColumns, 1);
    tiles.scores(rows, kDepth, strip.data(), panels.data(), {0, kColumns}, scores.data(), kColumns,
                 true, nullptr);
    for (Index r = 0; r < rows; ++r) {
      for (Index c = 0; c < kColumns; ++c) {
        float expected = 1;
        for (Index k = 0; k < kDepth; ++k) {
          expected += element(r + 20 * k) * element(3 * c + k) +
                      element(r + 20 * k + 10) * element(3 * c + k + 1);
        }
        ASSERT_EQ(scores[r * kColumns + c], expected) << r << ", " << c;
      }
    }
    std::vector<float> output(kRows * 48, 0);
    tiles.accumulate(rows, kDepth, strip.data(), 1, panels.data(), kColumns, 48, output.data(), 48);
    for (Index r = 0; r < rows; ++r) {
      for (Index c = 0; c < 48; ++c) {
        float expected = 0;
        for (Index k = 0; k < kDepth; ++k) {
          const auto a = std::bit_cast<std::uint32_t>(strip[r + k]);
          const auto b = std::bit_cast<std::uint32_t>(panels[k * kColumns + c]);
          expected += bfloat16_to_float(static_cast<std::uint16_t>(a)) *
                          bfloat16_to_float(static_cast<std::uint16_t>(b)) +
                      bfloat16_to_float(static_cast<std::uint16_t>(a >> 16)) *
                          bfloat16_to_float(static_cast<std::uint16_t>(b >> 16));
        }
        ASSERT_EQ(output[r * 48 + c], expected) << r << ", " << c;
      }
    }
  }
}

TEST_P(Dots, AreThoseOfEachQueryWithEachKey) {
  for (Index rows = 1; rows <= kernels::kFewRows; ++rows) {
    for (Index depth : {1, 16, 33, 70}) {
      std::vector<float> queries(rows * 80), keys(3 * depth);
      for (size_t n = 0; n < queries.size(); ++n) queries[n] = static_cast<float>(n % 9) - 4;
      for (size_t n = 0; n < keys.size(); ++n) keys[n] = static_cast<float>(n % 7) - 3;
      const std::vector<const float*> pointers = {&keys[0], &keys[depth], &keys[2 * depth]};
      std::vector<float> scores(rows * 8);
      kernels().dots(rows, depth, queries.data(), 80, pointers.data(), 3, scores.data(), 8);
      for (Index r = 0; r < rows; ++r) {
        for (Index n = 0; n < 3; ++n) {
          float expected = 0;
          for (Index k = 0; k < depth; ++k) expected += queries[r * 80 + k] * keys[n * depth + k];
          EXPECT_EQ(scores[r * 8 + n], expected) << r << ", " << n << ", depth " << depth;
        }
      }
    }
  }
}

// Element k of row n is 100 n + k.
struct NumberedRows {
  NumberedRows(Index count, Index depth) : rows(count, std::vector<float>(depth)) {
    for (Index n = 0; n < count; ++n) {
      for (Index k = 0; k < depth; ++k) rows[n][k] = static_cast<float>(100 * n + k);
      pointers.push_back(rows[n].data());
    }
  }
  std::vector<std::vector<float>> rows;
  std::vector<const float*> pointers;
};

TEST_P(PackPanel, TransposesAndPadsWithZeros) {
  constexpr Index kDepth = 7;
  for (Index count = 0; count <= kernels::kPanel; ++count) {
    const NumberedRows from(count, kDepth);
    std::vector<float> panel(kDepth * kernels::kPanel, -1);
    kernels().pack_panel(from.pointers.data(), count, kDepth, panel.data());
    for (Index k = 0; k < kDepth; ++k) {
      for (Index c = 0; c < kernels::kPanel; ++c) {
        ASSERT_EQ(panel[k * kernels::kPanel + c], c < count ? from.rows[c][k] : 0.0f) << count;
      }
    }
  }
}

TEST_P(PackStrip, TransposesAndMultipliesWithoutGaps) {
  constexpr Index kDepth = 11;
  for (Index count = 1; count <= kernels::kStrip; ++count) {
    const NumberedRows from(count, kDepth);
    std::vector<float> strip(kDepth * count + 1, -1);
    kernels().pack_strip(from.pointers.data(), count, kDepth, 0.5f, strip.data());
    for (Index k = 0; k < kDepth; ++k) {
      for (Index r = 0; r < count; ++r) {
        ASSERT_EQ(strip[k * count + r], 0.5f * from.rows[r][k]) << count;
      }
    }
    EXPECT_EQ(strip.back(), -1) << "written behind the strip";
  }
}

TEST_P(Hide, LeavesWhatIsSeenWithItsBiasAndNothingElse) {
  constexpr Index kColumns = 96;
  std::vector<float> bias(kColumns);
  std::uint64_t bits[2] = {0, 0};
  for (Index c = 0; c < kColumns; ++c) {
    bias[c] = static_cast<float>(c % 7);
    if (c % 3 != 0) bits[c / 64] |= std::uint64_t{1} << (c % 64);
  }
  const kernels::ColumnRange range{16, 80};
  for (const auto& seen : {kernels::ColumnRange{16, 80},
                           {17, 79},
                           {31, 33},
                           {48, 64},
                           {40, 40},
                           {90, 95},
                           {60, 20},
                           {0, 96},
                           {0, 5}}) {
    for (bool uses_bits : {false, true}) {
      for (bool uses_bias : {false, true}) {
        std::vector<float> row(kColumns);
        for (Index c = 0; c < kColumns; ++c) row[c] = static_cast<float>(c);
        row[20] = std::nanf("");  // hidden or not, as any other
        kernels().hide(row.data(), range, seen, uses_bits ? bits : nullptr,
                       uses_bias ? bias.data() : nullptr);
        for (Index c = 0; c < kColumns; ++c) {
          const bool inside = c >= range.begin && c < range.end;
          const bool sees = c >= seen.begin && c < seen.end && (!uses_bits || c % 3 != 0);
          if (inside && !sees) {
            EXPECT_EQ(row[c], kNothing) << c;
          } else if (c == 20) {
            EXPECT_TRUE(std::isnan(row[c]));
          } else {
            const bool added = inside && uses_bias;
            const double exact = static_cast<double>(c) +
                                 (added ? static_cast<double>(bias[c]) * std::numbers::log2e : 0.0);
            EXPECT_NEAR(row[c], exact, 0x1p-23 * (exact + 10)) << c;
          }
        }
      }
    }
  }
}

// The lines of two rows of 150 bytes, 300 bytes apart.
TEST(Ahead, WalksTheLinesOfEachRow) {
  constexpr Index kLine = kernels::Ahead::kLine;
  const std::vector<char> memory(1000);
  kernels::Ahead ahead{memory.data(), 2, 1, 2, 300 - 2 * kLine};
  std::vector<Index> offsets;
  while (ahead.lines > 0) {
    offsets.push_back(ahead.line - memory.data());
    ahead.fetch();
  }
  EXPECT_EQ(offsets, (std::vector<Index>{0, kLine, 300, 300 + kLine}));
  ahead.fetch();  // nothing left: does nothing
  EXPECT_EQ(ahead.lines, 0);
}

TEST_P(AllFinite, FindsOneOddElementAnywhere) {
  for (Index length : {1, 15, 16, 17, 33, 150}) {
    std::vector<float> row(length, 1e38f);
    EXPECT_TRUE(kernels().all_finite(row.data(), length));
    for (Index n = 0; n < length; ++n) {
      for (float odd : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
        row[n] = odd;
        EXPECT_FALSE(kernels().all_finite(row.data(), length)) << n << " of " << length;
        row[n] = 1;
      }
    }
  }
}

}  // namespace
}  // namespace longattn
