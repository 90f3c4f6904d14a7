#include "experiments/inputs/generators.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/random.h"

namespace longattn {
namespace {

Problem problem(Index len) {
  Problem p;
  p.batch = 2;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.query_len = p.key_len = len;
  p.head_dim = 5;  // odd: the last number of a row is half of a pair
  p.value_dim = 3;
  return p;
}

InputSpec spec(double temperature = 1) {
  InputSpec input;
  input.seed = 7;
  input.temperature = temperature;
  return input;
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.bytes_begin(), b.bytes_begin(), static_cast<size_t>(a.bytes())) == 0;
}

TEST(GaussianInputs, AreTheSameBitsForAnyNumberOfThreads) {
  const Problem p = problem(2500);  // more than two tasks a head
  const InputTensors one = make_inputs(spec(), p, 1), three = make_inputs(spec(), p, 3);
  EXPECT_TRUE(equal(one.queries, three.queries));
  EXPECT_TRUE(equal(one.keys, three.keys));
  EXPECT_TRUE(equal(one.values, three.values));
}

TEST(GaussianInputs, OfALongerTensorExtendAShorterOne) {
  const InputTensors shorter = make_inputs(spec(), problem(1100), 1);
  const InputTensors longer = make_inputs(spec(), problem(2300), 2);
  for (auto tensor : {&InputTensors::queries, &InputTensors::keys, &InputTensors::values}) {
    const ConstTensorView a = (shorter.*tensor).view(), b = (longer.*tensor).view();
    for (Index batch = 0; batch < a.batch(); ++batch) {
      for (Index h = 0; h < a.heads(); ++h) {
        const size_t bytes = static_cast<size_t>(a.len() * a.dim()) * sizeof(float);
        EXPECT_EQ(std::memcmp(a.row(batch, h, 0), b.row(batch, h, 0), bytes), 0);
      }
    }
  }
}

TEST(GaussianInputs, DifferByTensorHeadBatchEntryAndSeed) {
  const InputTensors t = make_inputs(spec(), problem(8));
  const auto first = [](const Tensor& x, Index b, Index h) { return *x.view().float_row(b, h, 0); };
  EXPECT_NE(first(t.queries, 0, 0), first(t.keys, 0, 0));
  EXPECT_NE(first(t.keys, 0, 0), first(t.values, 0, 0));
  EXPECT_NE(first(t.keys, 0, 0), first(t.keys, 0, 1));
  EXPECT_NE(first(t.keys, 0, 0), first(t.keys, 1, 0));
  InputSpec other = spec();
  other.seed = 8;
  EXPECT_NE(first(t.keys, 0, 0), first(make_inputs(other, problem(8)).keys, 0, 0));
}

// 4 x 512 x 512 scores of head_dim 64; scores of one query share it, so the standard error of the
// deviation is about 1/sqrt(2 * 2048 * 64), 0.2 %, plus 1/sqrt(2 * 2048), 1.6 %, of its length.
TEST(GaussianInputs, TemperatureIsTheDeviationOfTheScaledScores) {
  for (const std::optional<double> scale : {std::optional<double>(), std::optional<double>(0.5)}) {
    Problem p = problem(512);
    p.batch = 1;
    p.num_kv_heads = 4;
    p.head_dim = 64;
    p.scale = scale;
    const InputTensors t = make_inputs(spec(3), p);
    double sum2 = 0;
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        const float* q = t.queries.view().float_row(0, h, i);
        for (Index j = 0; j < p.key_len; ++j) {
          const float* k = t.keys.view().float_row(0, h, j);
          double score = 0;
          for (Index c = 0; c < p.head_dim; ++c) score += double{q[c]} * double{k[c]};
          score *= p.effective_scale();
          sum2 += score * score;
        }
      }
    }
    const auto count = static_cast<double>(p.num_heads * p.query_len * p.key_len);
    EXPECT_NEAR(std::sqrt(sum2 / count), 3, 0.1) << "scale " << p.effective_scale();
  }
}

TEST(GaussianInputs, InANarrowTypeAreTheRoundedOnes) {
  Problem p = problem(9);
  const InputTensors wide = make_inputs(spec(), p);
  p.dtype = DType::bfloat16;
  const InputTensors narrow = make_inputs(spec(), p);
  const float* exact = wide.keys.floats();
  const auto* stored = reinterpret_cast<const std::uint16_t*>(narrow.keys.bytes_begin());
  for (Index n = 0; n < narrow.keys.size(); ++n) {
    EXPECT_EQ(stored[n], float_to_bfloat16(exact[n])) << n;
  }
}

TEST(NormalPair, IsTheTwoNormalsOfItsBlock) {
  const CounterRandom random(3, 4);
  for (std::uint64_t pair : {0ull, 1ull, 12345ull}) {
    EXPECT_EQ(random.normal_pair(pair)[0], random.normal(2 * pair));
    EXPECT_EQ(random.normal_pair(pair)[1], random.normal(2 * pair + 1));
  }
}

}  // namespace
}  // namespace longattn
