#include "core/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/test_tensors.h"

namespace longattn {
namespace {

struct Size {
  Index m, n, p;
};

class Matmul : public testing::TestWithParam<Size> {};

// |c - exact| <= n u |a| |b| (Higham, section 3.5), one rounding more for the factor.
void expect_product(const Size& s, const Tensor& a, const Tensor& b, bool transposed,
                    const Tensor& c, double factor) {
  for (Index i = 0; i < s.m; ++i) {
    for (Index j = 0; j < s.p; ++j) {
      double exact = 0, absolute = 0;
      for (Index k = 0; k < s.n; ++k) {
        const double right = b.floats()[transposed ? j * s.n + k : k * s.p + j];
        const double term = factor * a.floats()[i * s.n + k] * right;
        exact += term;
        absolute += std::abs(term);
      }
      const double bound = static_cast<double>(s.n + 2) * 0x1p-24 * absolute;
      ASSERT_LE(std::abs(c.floats()[i * s.p + j] - exact), bound) << i << ", " << j;
    }
  }
}

TEST_P(Matmul, EqualsTheTripleLoopWithinItsRounding) {
  const Size s = GetParam();
  const Tensor a = gaussian_tensor({1, 1, s.m, s.n}, 1), b = gaussian_tensor({1, 1, s.n, s.p}, 2);
  const Tensor bt = gaussian_tensor({1, 1, s.p, s.n}, 3);
  Tensor c({1, 1, s.m, s.p});
  Context context(2);
  matmul({a.floats(), s.m, s.n, s.n}, {b.floats(), s.n, s.p, s.p}, 1.0f,
         {c.floats(), s.m, s.p, s.p}, context);
  expect_product(s, a, b, false, c, 1);
  matmul_transposed({a.floats(), s.m, s.n, s.n}, {bt.floats(), s.p, s.n, s.n}, 0.125f,
                    {c.floats(), s.m, s.p, s.p}, context);
  expect_product(s, a, bt, true, c, 0.125);
  EXPECT_EQ(context.workspace().peak_bytes(), matmul_workspace_bytes(s.n, s.p, 2));
}

TEST_P(Matmul, HasTheSameBitsForAnyNumberOfThreads) {
  const Size s = GetParam();
  const Tensor a = gaussian_tensor({1, 1, s.m, s.n}, 1), b = gaussian_tensor({1, 1, s.n, s.p}, 2);
  Tensor one({1, 1, s.m, s.p}), three({1, 1, s.m, s.p});
  Context single(1), several(3);
  matmul({a.floats(), s.m, s.n, s.n}, {b.floats(), s.n, s.p, s.p}, 1.0f,
         {one.floats(), s.m, s.p, s.p}, single);
  matmul({a.floats(), s.m, s.n, s.n}, {b.floats(), s.n, s.p, s.p}, 1.0f,
         {three.floats(), s.m, s.p, s.p}, several);
  EXPECT_EQ(std::memcmp(one.floats(), three.floats(), static_cast<size_t>(one.bytes())), 0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Matmul,
                         testing::Values(Size{1, 1, 1}, Size{12, 256, 32}, Size{13, 257, 33},
                                         Size{97, 64, 31}, Size{200, 600, 65}, Size{5, 1000, 7}),
                         [](const auto& size) {
                           return std::to_string(size.param.m) + "x" +
                                  std::to_string(size.param.n) + "x" + std::to_string(size.param.p);
                         });

TEST(Matmul, OfNothingIsZero) {
  Tensor c = gaussian_tensor({1, 1, 3, 4}, 1);
  Context context(1);
  matmul({nullptr, 3, 0, 0}, {nullptr, 0, 4, 4}, 1.0f, {c.floats(), 3, 4, 4}, context);
  for (Index n = 0; n < c.size(); ++n) EXPECT_EQ(c.floats()[n], 0);
}

}  // namespace
}  // namespace longattn
