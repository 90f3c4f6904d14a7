#include "core/tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace longattn {
namespace {

// The value of a binary floating-point pattern, straight from IEEE 754's definition.
double plain_value(std::uint32_t bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto fraction = bits & ((1u << fraction_bits) - 1);
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double sign = bits >> (exponent_bits + fraction_bits) ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(1 + std::ldexp(fraction, -fraction_bits), exponent - bias);
}

struct HalfFormat {
  const char* name;
  int exponent_bits, fraction_bits;
  float (*widen)(std::uint16_t);
  std::uint16_t (*narrow)(float);
};
constexpr HalfFormat kFormats[] = {{"float16", 5, 10, float16_to_float, float_to_float16},
                                   {"bfloat16", 8, 7, bfloat16_to_float, float_to_bfloat16}};

TEST(HalfPrecision, EveryPatternWidensToItsValue) {
  for (const HalfFormat& format : kFormats) {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
      const double expected = plain_value(bits, format.exponent_bits, format.fraction_bits);
      const float found = format.widen(static_cast<std::uint16_t>(bits));
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(found)) << format.name << " " << bits;
      } else {
        ASSERT_EQ(static_cast<double>(found), expected) << format.name << " " << bits;
        ASSERT_EQ(std::signbit(found), std::signbit(expected)) << format.name << " " << bits;
      }
    }
  }
}

TEST(HalfPrecision, EveryPatternSurvivesTheWayThereAndBack) {
  for (const HalfFormat& format : kFormats) {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
      const float wide = format.widen(static_cast<std::uint16_t>(bits));
      const std::uint16_t back = format.narrow(wide);
      if (std::isnan(wide)) {
        ASSERT_TRUE(std::isnan(format.widen(back))) << format.name << " " << bits;
      } else {
        ASSERT_EQ(back, bits) << format.name;
      }
    }
  }
}

// Between two neighbours the nearer one is taken, and halfway the one with an even last bit. The
// midpoint of two halves is a float, so its float neighbours test both sides.
TEST(HalfPrecision, NarrowingRoundsToNearestTiesToEven) {
  for (const HalfFormat& format : kFormats) {
    const auto infinity =
        static_cast<std::uint32_t>(((1 << format.exponent_bits) - 1) << format.fraction_bits);
    for (std::uint32_t bits = 0; bits < infinity; ++bits) {
      // The neighbour above the largest number is what the next exponent would be, not infinity.
      const double low = plain_value(bits, format.exponent_bits, format.fraction_bits);
      const double high = bits + 1 < infinity
                              ? plain_value(bits + 1, format.exponent_bits, format.fraction_bits)
                              : std::ldexp(1, 1 << (format.exponent_bits - 1));
      const auto middle = static_cast<float>((low + high) / 2);
      ASSERT_EQ(static_cast<double>(middle), (low + high) / 2) << format.name << " " << bits;
      const std::uint32_t even = bits % 2 == 0 ? bits : bits + 1;
      for (std::uint32_t sign : {0u, 0x8000u}) {
        const float flip = sign == 0 ? 1.0f : -1.0f;
        ASSERT_EQ(format.narrow(flip * middle), sign | even) << format.name << " " << bits;
        ASSERT_EQ(format.narrow(flip * std::nextafter(middle, 0.0f)), sign | bits)
            << format.name << " " << bits;
        ASSERT_EQ(format.narrow(flip * std::nextafter(middle, INFINITY)), sign | (bits + 1))
            << format.name << " " << bits;
      }
    }
  }
}

TEST(HalfPrecision, NaNStaysNaNWhateverItsPayload) {
  for (std::uint32_t bits : {0x7F800001u, 0x7FC00000u, 0x7FFFFFFFu, 0xFF800001u, 0xFFFFFFFFu}) {
    const auto nan = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(nan)))) << bits;
    EXPECT_TRUE(std::isnan(float16_to_float(float_to_float16(nan)))) << bits;
  }
}

TEST(Tensor, IsZeroAlignedAndDense) {
  Tensor tensor({2, 3, 5, 7}, DType::bfloat16);
  EXPECT_EQ(tensor.size(), 210);
  EXPECT_EQ(tensor.bytes(), 420);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.bytes_begin()) % 64, 0u);
  for (Index n = 0; n < tensor.bytes(); ++n) ASSERT_EQ(tensor.bytes_begin()[n], std::byte{0});
  const ConstTensorView view = tensor.view();
  EXPECT_EQ(view.strides, (std::array<Index, 3>{105, 35, 7}));
  EXPECT_EQ(static_cast<const std::byte*>(view.row(1, 2, 4)) - tensor.bytes_begin(),
            2 * (105 + 70 + 28));
}

TEST(Tensor, MayHaveNoElements) {
  const Tensor tensor({1, 2, 0, 4});
  EXPECT_EQ(tensor.size(), 0);
  EXPECT_FALSE(tensor.empty());
  EXPECT_TRUE(Tensor().empty());
}

TEST(Tensor, RowsOfStridedViewsAreFound) {
  // A [batch, len, heads, dim] buffer seen as [batch, heads, len, dim].
  Tensor buffer({2, 3, 4, 5});
  for (Index n = 0; n < buffer.size(); ++n) buffer.floats()[n] = static_cast<float>(n);
  ConstTensorView view = buffer.view();
  view.shape = {2, 4, 3, 5};
  view.strides = {60, 5, 20};
  EXPECT_EQ(view.float_row(1, 2, 1)[3], static_cast<float>(60 + 20 + 2 * 5 + 3));
  double row[5];
  load_row(view, 1, 2, 1, row);
  EXPECT_EQ(row[4], 94);
}

TEST(Tensor, RowsOfEveryTypeAndWidthLoadExactly) {
  for (DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    for (Index dim : {1, 63, 64, 65, 200}) {
      std::vector<float> values(static_cast<size_t>(2 * dim));
      for (size_t n = 0; n < values.size(); ++n) values[n] = static_cast<float>(n % 97) - 40;
      Tensor tensor({1, 1, 2, dim}, dtype);
      store_floats(dtype, values.data(), 2 * dim, tensor.bytes_begin());
      std::vector<double> row(static_cast<size_t>(dim));
      load_row(tensor.view(), 0, 0, 1, row.data());
      for (size_t c = 0; c < row.size(); ++c) {
        ASSERT_EQ(row[c], values[static_cast<size_t>(dim) + c]) << to_string(dtype) << " " << dim;
      }
    }
  }
}

}  // namespace
}  // namespace longattn
