#include "experiments/inputs/generators.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/random.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;
using Given = std::vector<std::pair<std::string, std::string>>;

Problem problem(Index len) {
  Problem p;
  p.batch = 2;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.query_len = p.key_len = len;
  p.head_dim = 33;  // odd: the last number of a row is half of a pair
  p.value_dim = 3;
  p.mask.causal = true;
  return p;
}

InputSpec spec(std::string_view generator, const Given& given = {{"seed", "7"}}) {
  return generated_input(generator, given);
}

std::unique_ptr<const InputSource> source(std::string_view generator, const Problem& p,
                                          const Given& given = {}) {
  return source_of(generated_input(generator, given), p);
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.bytes_begin(), b.bytes_begin(), static_cast<size_t>(a.bytes())) == 0;
}

// Whether `longer` begins with the tokens of `shorter`, in every batch entry and head.
bool extends(const Tensor& longer, const Tensor& shorter) {
  const ConstTensorView a = shorter.view(), b = longer.view();
  const size_t bytes = static_cast<size_t>(a.len() * a.dim()) * sizeof(float);
  for (Index batch = 0; batch < a.batch(); ++batch) {
    for (Index h = 0; h < a.heads(); ++h) {
      if (std::memcmp(a.row(batch, h, 0), b.row(batch, h, 0), bytes) != 0) return false;
    }
  }
  return true;
}

class EveryGenerator : public ::testing::TestWithParam<const Generator*> {
 protected:
  InputTensors make(const Problem& p, int threads = 1) const {
    return make_inputs(spec(GetParam()->name), p, threads);
  }
};

TEST_P(EveryGenerator, GivesTheSameBitsForAnyNumberOfThreads) {
  const Problem p = problem(1500);  // more than one task a head
  const InputTensors one = make(p), three = make(p, 3);
  EXPECT_TRUE(equal(one.queries, three.queries));
  EXPECT_TRUE(equal(one.keys, three.keys));
  EXPECT_TRUE(equal(one.values, three.values));
}

TEST_P(EveryGenerator, IsExtendedByALongerInputWhereItSaysSo) {
  for (const bool causal : {true, false}) {
    Problem p = problem(600), q = problem(700);
    p.mask.causal = q.mask.causal = causal;
    const InputTensors shorter = make(p), longer = make(q);
    EXPECT_TRUE(extends(longer.keys, shorter.keys));
    EXPECT_TRUE(extends(longer.values, shorter.values));
    EXPECT_EQ(extends(longer.queries, shorter.queries), causal || !GetParam()->queries_count_keys);
  }
}

// So that a rank can draw its shard alone.
TEST_P(EveryGenerator, DrawsAnyRowByItself) {
  Problem p = problem(500);
  p.query_len = 300;
  const InputTensors all = make(p);
  const auto alone = source_of(spec(GetParam()->name), p);
  std::vector<double> row(static_cast<size_t>(p.head_dim));
  for (const Index token : {Index{299}, Index{0}, Index{17}}) {
    const float* q = all.queries.view().float_row(1, 3, token);
    const float* k = all.keys.view().float_row(0, 1, token);
    alone->key(0, 1, token, row);
    for (size_t c = 0; c < row.size(); ++c) EXPECT_EQ(k[c], static_cast<float>(row[c]));
    alone->query(1, 3, token, row);
    for (size_t c = 0; c < row.size(); ++c) EXPECT_EQ(q[c], static_cast<float>(row[c]));
  }
}

TEST_P(EveryGenerator, DiffersByTensorHeadBatchEntryAndSeed) {
  const Problem p = problem(70);
  const auto at = [](const Tensor& x, Index b, Index h) {
    return x.view().float_row(b, h, 20)[x.shape()[3] > 3 ? 1 : 0];
  };
  const InputTensors t = make(p);
  EXPECT_NE(at(t.queries, 0, 0), at(t.keys, 0, 0));
  EXPECT_NE(at(t.keys, 0, 0), at(t.values, 0, 0));
  EXPECT_NE(at(t.keys, 0, 0), at(t.keys, 0, 1));
  EXPECT_NE(at(t.keys, 0, 0), at(t.keys, 1, 0));
  EXPECT_FALSE(equal(t.queries, make_inputs(spec(GetParam()->name, {{"seed", "8"}}), p).queries));
  EXPECT_FALSE(equal(t.keys, make_inputs(spec(GetParam()->name, {{"seed", "8"}}), p).keys));
}

TEST_P(EveryGenerator, InANarrowTypeIsTheRoundedOne) {
  Problem p = problem(70);
  const InputTensors wide = make(p);
  p.dtype = DType::bfloat16;
  const InputTensors narrow = make(p);
  const float* exact = wide.queries.floats();
  const auto* stored = reinterpret_cast<const std::uint16_t*>(narrow.queries.bytes_begin());
  for (Index n = 0; n < narrow.queries.size(); ++n) {
    EXPECT_EQ(stored[n], float_to_bfloat16(exact[n])) << n;
  }
}

TEST_P(EveryGenerator, TakesFirstQueriesThatSeeNoKey) {
  Problem p = problem(70);
  p.query_len = 80;  // causal: the first ten see nothing
  const InputTensors t = make(p);
  for (Index n = 0; n < t.queries.size(); ++n) EXPECT_TRUE(std::isfinite(t.queries.floats()[n]));
}

INSTANTIATE_TEST_SUITE_P(, EveryGenerator, ::testing::ValuesIn(generators()),
                         [](const auto& test) { return std::string(test.param->name); });

// The bits that published figures were made with.
TEST(Gaussian, IsOneNormalNumberPerCounter) {
  const Problem p = problem(3);
  const InputTensors t = make_inputs(spec("gaussian"), p);
  const CounterRandom random(7, make_stream(2, 1, 0));  // keys, batch entry, head
  for (std::uint64_t c : {0ull, 1ull, 32ull}) {
    EXPECT_EQ(t.keys.view().float_row(1, 0, 2)[c],
              static_cast<float>(random.normal(2ull << 24 | c)));
  }
}

TEST(LowRank, LeavesTheOtherDimensionsZero) {
  const InputTensors t = make_inputs(spec("low_rank", {{"rank", "2"}}), problem(5));
  for (const Tensor* x : {&t.queries, &t.keys}) {
    const float* row = x->view().float_row(0, 1, 3);
    EXPECT_NE(row[1], 0);
    for (Index c = 2; c < 33; ++c) EXPECT_EQ(row[c], 0);
  }
}

// Two other keys, without noise: the sink must weigh as much as both, exp(sigma) = 2, and the
// sink's key is 2 = sqrt(head_dim) in dimension 0.
TEST(Sinks, OfThreeKeysByHand) {
  Problem p = problem(3);
  p.head_dim = 4;
  p.scale = 0.5;
  const auto s = source("sinks", p, {{"count", "1"}, {"temperature", "0"}});
  std::vector<double> row(4);
  s->key(0, 0, 0, row);
  EXPECT_THAT(row, ::testing::ElementsAre(2, 0, 0, 0));
  s->key(0, 0, 1, row);
  EXPECT_EQ(row[0], 0);
  s->query(0, 0, 2, row);  // 0.5 * q * 2 = log 2
  EXPECT_THAT(row, ::testing::ElementsAre(std::log(2.0), 0, 0, 0));
  s->query(0, 0, 1, row);  // one other key: a score of 0
  EXPECT_THAT(row, ::testing::ElementsAre(0, 0, 0, 0));
}

// Equation (2) of experiments/inputs/families.h, for every needle of every query.
TEST(Needle, ScoresWhatItsShareOfAttentionTakes) {
  Problem p = problem(200);
  p.scale = -0.2;
  const double mass = 0.2;
  const auto s = source("needle", p, {{"count", "3"}, {"mass", "0.2"}});
  const auto at = [&](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (size_t c = 0; c < a.size(); ++c) sum += a[c] * b[c];
    return sum;
  };
  std::vector<double> q(33), k(33);
  for (const Index i : {Index{3}, Index{50}, Index{199}}) {
    s->query(1, 2, i, q);
    const std::vector<Index> needles = s->planted(1, 2, i);
    ASSERT_EQ(needles.size(), 3u);
    const auto others = static_cast<double>(i + 1 - 3);
    const double sigma = std::log(mass / (1 - mass)) + std::log(others / 3) + 0.04 * at(q, q) / 2;
    for (const Index j : needles) {
      EXPECT_LE(j, i);
      s->key(1, 1, j, k);  // query head 2 reads kv head 1
      EXPECT_NEAR(-0.2 * at(q, k), sigma, 1e-9);
    }
  }
  EXPECT_EQ(s->planted(1, 2, 1).size(), 2u);  // sees two keys
}

TEST(Clustered, OfTwoCentresByHand) {
  Problem p = problem(100);
  p.head_dim = 8;
  p.scale = 1;
  const auto s = source(
      "clustered", p, {{"clusters", "2"}, {"spread", "0"}, {"temperature", "0"}, {"mass", "0.8"}});
  std::vector<double> q(8), own(8), other(8);
  s->query(0, 0, 60, q);
  const std::vector<Index> cluster = s->planted(0, 0, 60);
  EXPECT_THAT(cluster, ::testing::Contains(60));
  ASSERT_LT(cluster.size(), 100u);
  Index outside = 0;
  while (std::ranges::find(cluster, outside) != cluster.end()) ++outside;
  s->key(0, 0, cluster.front(), own);
  s->key(0, 0, outside, other);
  double difference = 0;
  for (size_t c = 0; c < 8; ++c) difference += q[c] * (own[c] - other[c]);
  EXPECT_NEAR(difference, std::log(0.8 / 0.2), 1e-8);
}

// Without noise, score = peak / M sum cos(w x): the same for the same distance, falling from 20.
TEST(Local, ScoresByDistanceAlone) {
  Problem p = problem(400);
  const auto s = source("local", p, {{"half_mass_distance", "20"}, {"temperature", "0"}});
  const auto score = [&](Index i, Index j) {
    std::vector<double> q(33), k(33);
    s->query(0, 3, i, q);
    s->key(0, 1, j, k);
    double sum = 0;
    for (size_t c = 0; c < 33; ++c) sum += q[c] * k[c];
    return sum * p.effective_scale();
  };
  EXPECT_NEAR(score(300, 300), 20, 1e-9);
  for (const Index x : {1, 10, 40}) {
    EXPECT_NEAR(score(100, 100 - x), score(399, 399 - x), 1e-9);
    EXPECT_NEAR(score(100, 100 - x), score(100, 100 + x), 1e-9);
    EXPECT_LT(score(100, 100 - x), score(100, 100 - x + 1));
  }
  // 20 - x^2 / (2 l^2) with l = 20 / 0.6745; the next term is at most y^4 3 / (24 peak), y = x / l.
  const double y = 20 * 0.67449 / 20;
  EXPECT_NEAR(score(300, 280), 20 - y * y / 2, y * y * y * y * 3 / (24 * 20));
}

struct Impossible {
  const char* name;
  const char* generator;
  Given given;
  const char* reason;
  Problem problem;
};
void PrintTo(const Impossible& x, std::ostream* out) { *out << x.name; }
class GeneratorRefuses : public ::testing::TestWithParam<Impossible> {};

TEST_P(GeneratorRefuses, WhatItCannotMeet) {
  const auto& [name, generator, given, reason, p] = GetParam();
  try {
    source(generator, p, given);
    FAIL() << "accepted";
  } catch (const UnsupportedError& error) {
    EXPECT_THAT(error.what(), HasSubstr(std::string(generator) + ": "));
    EXPECT_THAT(error.what(), HasSubstr(reason));
  }
}

Problem scaled(double scale) {
  Problem p = problem(64);
  p.scale = scale;
  return p;
}
Problem narrow(Index dim, Index len) {
  Problem p = problem(len);
  p.head_dim = dim;
  return p;
}
Problem with_documents() {
  Problem p = problem(4);
  p.mask.document_ids = {0, 0, 1, 1};
  return p;
}

INSTANTIATE_TEST_SUITE_P(
    , GeneratorRefuses,
    ::testing::Values(
        Impossible{"Rank",
                   "low_rank",
                   {{"rank", "34"}},
                   "rank 34, but scores of head_dim 33",
                   problem(64)},
        Impossible{"ScaleZero", "sinks", {}, "scale 0", scaled(0)},
        Impossible{"Documents", "needle", {}, "documents", with_documents()},
        Impossible{"AllSinks", "sinks", {{"count", "64"}}, "64 sinks in 64 keys", problem(64)},
        Impossible{"SinksInOneDimension", "sinks", {}, "head_dim 1", narrow(1, 64)},
        Impossible{"HotSinks", "sinks", {{"temperature", "3"}}, "60 keys", problem(64)},
        Impossible{"AllNeedles", "needle", {{"count", "4"}}, "4 needles in 4 keys", problem(4)},
        Impossible{
            "NeedlesOverDimensions", "needle", {{"count", "32"}}, "31 needles apart", problem(64)},
        Impossible{
            "NeedleInAHaystackTooLarge", "needle", {}, "among 100000 keys", narrow(16, 100000)},
        Impossible{"HotNeedle", "needle", {{"temperature", "3"}}, "by chance", problem(64)},
        Impossible{"MoreClustersThanKeys",
                   "clustered",
                   {{"clusters", "65"}},
                   "65 clusters of 64",
                   problem(64)},
        Impossible{"ClustersInFewDimensions",
                   "clustered",
                   {{"clusters", "64"}},
                   "of 64 clusters",
                   narrow(4, 1000)},
        Impossible{"WideClusters", "clustered", {{"spread", "9"}}, "by chance", problem(64)},
        Impossible{"DistanceOfAllTokens",
                   "local",
                   {{"half_mass_distance", "64"}},
                   "in 64 tokens",
                   problem(64)},
        Impossible{"LocalInThreeDimensions",
                   "local",
                   {{"half_mass_distance", "8"}},
                   "head_dim 3",
                   narrow(3, 64)},
        Impossible{
            "FarKeys", "local", {{"half_mass_distance", "8"}}, "keys far away", narrow(8, 100000)}),
    [](const auto& test) { return test.param.name; });

TEST(Generators, UnknownOnesAreRefusedByName) {
  EXPECT_THROW(generated_input("nedle"), OptionError);
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
