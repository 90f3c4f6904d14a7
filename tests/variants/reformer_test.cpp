#include "variants/reformer/reformer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "tests/variants/variant_testing.h"
#include "variants/full.h"
#include "variants/reformer/lsh.h"

namespace longattn {
namespace {

std::unique_ptr<const Attention> reformer(const Problem& p, const OptionTexts& options) {
  return make_attention(kReformer, p, Options(kReformer.options, options));
}

std::string refusal(const Problem& p, const OptionTexts& options) {
  return kReformer.unsupported(p, Options(kReformer.options, options));
}

LshSettings settings(const Problem& p, const OptionTexts& options) {
  return LshSettings(p, Options(kReformer.options, options));
}

// Buckets of rows first .. first + count of head 0 in every round, [rounds, count].
std::vector<std::int32_t> buckets(const LshHash& hash, const LshSettings& s,
                                  const ConstTensorView& rows, Index first, Index count,
                                  Index rotation_head = 0) {
  std::vector<float> scratch(static_cast<size_t>(hash.scratch_floats()));
  std::vector<std::int32_t> found(static_cast<size_t>(s.rounds * count));
  hash.buckets(rows, 0, 0, rotation_head, first, count, scratch.data(), found.data(), count);
  return found;
}

// Which keys each query weighs, one row of 0 and 1 a query.
std::vector<std::string> pattern(const Attention& attention, const Inputs& inputs) {
  const Eigen::MatrixXd w = all_weights(attention, inputs);
  std::vector<std::string> picture;
  for (Index i = 0; i < w.rows(); ++i) {
    std::string line;
    for (Index j = 0; j < w.cols(); ++j) line += w(i, j) > 0 ? '1' : '0';
    picture.push_back(line);
  }
  return picture;
}

// Queries and keys of one element with these signs; a positive one is in the lower bucket.
ProblemTensors signed_tensors(const Problem& p, const std::vector<float>& signs) {
  ProblemTensors t(p);
  const LshSettings s = settings(p, {{"num_hashes", "1"}, {"bucket_size", "1"}});
  const LshHash hash(p, s);
  t.queries.floats()[0] = 1;
  t.queries.floats()[1] = -1;
  const std::vector<std::int32_t> of_signs = buckets(hash, s, t.queries.view(), 0, 2);
  const float lower = of_signs[0] < of_signs[1] ? 1.0f : -1.0f;
  for (size_t n = 0; n < signs.size(); ++n) {
    t.queries.floats()[n] = t.keys.floats()[n] = lower * signs[n];
  }
  return t;
}

TEST(Reformer, GivesAnInfiniteValueToTheRowsThatWeighItHoweverOftenTheyMeetIt) {
  for (float odd :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const Problem p = problem_of(300);
    ProblemTensors t(p);
    std::copy_n(t.queries.floats(), t.queries.size(), t.keys.floats());  // to meet in all rounds
    t.values.floats()[100 * 4 + 1] = odd;
    const auto plan = make_with(kReformer, p, {{"num_hashes", "4"}, {"bucket_size", "16"}});
    const Eigen::MatrixXd w = all_weights(*plan, t.inputs());
    Context context(2);
    plan->forward(t.inputs(), t.output_alone(), context);
    Index weighing = 0;
    for (Index i = 0; i < 300; ++i) {
      const float* row = t.output.floats() + i * 4;
      for (Index c : {0, 2, 3}) EXPECT_TRUE(std::isfinite(row[c]));
      EXPECT_EQ(std::isfinite(row[1]), w(i, 100) == 0) << i;
      if (std::isinf(odd)) EXPECT_FALSE(std::isnan(row[1])) << i;
      weighing += w(i, 100) > 0 ? 1 : 0;
    }
    EXPECT_GT(weighing, 10);
    EXPECT_LT(weighing, 290);
  }
}

// More sorted keys than are gathered at a time, so that those with infinite values are moved.
TEST(Reformer, KeepsInfiniteValuesApartWhileTheGatheredKeysMoveOn) {
  const Problem p = problem_of(1500);
  ProblemTensors t(p);
  std::vector<Index> odd;
  for (Index key = 5; key < 1500; key += 149) odd.push_back(key);
  for (Index key : odd) t.values.floats()[key * 4 + 1] = std::numeric_limits<float>::infinity();
  for (const char* rounds : {"1", "3"}) {
    const auto plan = make_with(kReformer, p, {{"num_hashes", rounds}, {"bucket_size", "32"}});
    const Eigen::MatrixXd w = all_weights(*plan, t.inputs());
    Context context(1);
    plan->forward(t.inputs(), t.output_alone(), context);
    Index weighing = 0;
    for (Index i = 0; i < 1500; ++i) {
      bool weighs = false;
      for (Index key : odd) weighs = weighs || w(i, key) > 0;
      const float* row = t.output.floats() + i * 4;
      for (Index c : {0, 2, 3}) EXPECT_TRUE(std::isfinite(row[c])) << i;
      EXPECT_EQ(row[1] == std::numeric_limits<float>::infinity(), weighs) << i;
      EXPECT_EQ(std::isfinite(row[1]), !weighs) << i;
      weighing += weighs ? 1 : 0;
    }
    EXPECT_GT(weighing, 50);
    EXPECT_LT(weighing, 1450);
  }
}

TEST(Reformer, WeighsTheKeysThatSortedChunksShowByHand) {
  // In one dimension a bucket is a sign. Sorted: 0 2 | 3 1 | 4, in chunks of two.
  const Problem p = problem_of(5, 1);
  const ProblemTensors t = signed_tensors(p, {1, -1, 1, 1, -1});
  using Picture = std::vector<std::string>;
  const auto of = [&](OptionTexts more) {
    more.emplace_back("num_hashes", "1");
    more.emplace_back("bucket_size", "1");
    return pattern(*reformer(p, more), t.inputs());
  };
  EXPECT_EQ(of({{"look_back", "0"}}), (Picture{"10100", "01000", "10100", "00010", "00001"}));
  EXPECT_EQ(of({{"look_back", "1"}}), (Picture{"10100", "01000", "10100", "10110", "01001"}));
  EXPECT_EQ(of({{"look_back", "1"}, {"across_buckets", "true"}}),
            (Picture{"10100", "11110", "10100", "11110", "01011"}));
  EXPECT_EQ(of({{"look_back", "1"}, {"across_buckets", "true"}, {"wrap_around", "true"}}),
            (Picture{"10101", "11110", "10101", "11110", "01011"}));
  EXPECT_EQ(of({{"look_back", "1"}, {"shared_qk", "true"}}),
            (Picture{"00100", "01000", "10000", "10100", "01000"}));
  Problem causal = p;
  causal.mask.causal = true;
  EXPECT_EQ(
      pattern(*reformer(causal,
                        {{"num_hashes", "1"}, {"bucket_size", "1"}, {"across_buckets", "true"}}),
              t.inputs()),
      (Picture{"10000", "11000", "10100", "11110", "01011"}));
}

TEST(Reformer, AnchorsQueriesInProportionWhereTheyAreFewerThanKeys) {
  // Six keys in one bucket, three chunks; three queries anchor at keys 0, 2 and 4.
  Problem p = problem_of(6, 1);
  p.query_len = 3;
  ProblemTensors t(p);
  std::fill_n(t.queries.floats(), 3, 1.0f);
  std::fill_n(t.keys.floats(), 6, 1.0f);
  EXPECT_EQ(pattern(*reformer(p, {{"num_hashes", "1"}, {"bucket_size", "1"}, {"look_back", "0"}}),
                    t.inputs()),
            (std::vector<std::string>{"110000", "001100", "000011"}));
}

// Keys in clusters, each query near one key.
ProblemTensors clustered_tensors(const Problem& p, Index clusters) {
  ProblemTensors t(p);
  const Tensor centres = gaussian_tensor({1, 1, clusters, p.head_dim}, 77, 3);
  const CounterRandom random(78);
  for (Index j = 0; j < p.key_len; ++j) {
    const auto own = static_cast<Index>(
        random.below(static_cast<std::uint64_t>(j), static_cast<std::uint64_t>(clusters)));
    for (Index c = 0; c < p.head_dim; ++c) {
      float& key = t.keys.floats()[j * p.head_dim + c];
      key = 0.5f * key + centres.floats()[own * p.head_dim + c];
    }
  }
  for (Index i = 0; i < p.query_len; ++i) {
    for (Index c = 0; c < p.head_dim; ++c) {
      float& query = t.queries.floats()[i * p.head_dim + c];
      query = 0.5f * query + t.keys.floats()[(i * 7 % p.key_len) * p.head_dim + c];
    }
  }
  return t;
}

// Mean mass of full attention on the keys that are weighed.
double captured_mass(const Attention& attention, const Inputs& inputs) {
  const Problem& p = attention.problem();
  const Eigen::MatrixXd own = all_weights(attention, inputs);
  const Eigen::MatrixXd full = all_weights(*make_attention(kFull, p, {}), inputs);
  return (own.array() > 0).select(full, 0.0).sum() / static_cast<double>(own.rows());
}

TEST(Reformer, FindsMoreOfTheNearestKeysWithEveryRound) {
  const Problem p = problem_of(600, 16);
  const ProblemTensors t = clustered_tensors(p, 30);
  double before = 0, first = 0;
  for (const char* rounds : {"1", "2", "4", "8", "16"}) {
    const auto plan = reformer(p, {{"num_hashes", rounds}, {"bucket_size", "30"}});
    const double mass = captured_mass(*plan, t.inputs());
    EXPECT_GT(mass, before) << rounds;
    if (first == 0) first = mass;
    before = mass;
  }
  EXPECT_GT(before, 0.95);
  // Far more than the share of keys that one round looks at.
  EXPECT_GT(first, 4 * 60.0 / 600);
}

TEST(Reformer, OfOneBucketIsFullAttention) {
  for (Index len : {1, 31, 157}) {
    for (bool causal : {false, true}) {
      Problem p = problem_of(len);
      p.mask.causal = causal;
      ProblemTensors t(p);
      const OptionTexts one = {{"num_buckets", "1"}, {"num_hashes", "3"}};
      EXPECT_TRUE(kReformer.traits(p, Options(kReformer.options, one)).exact);
      EXPECT_LE(forward_ratio(*reformer(p, one), *make_attention(kFull, p, {}), t), 1);
    }
  }
}

TEST(Reformer, OfTwoChunksAroundTheEndIsFullAttention) {
  const Problem p = problem_of(112);
  ProblemTensors t(p);
  OptionTexts two = {{"num_hashes", "1"},
                     {"bucket_size", "28"},
                     {"across_buckets", "true"},
                     {"wrap_around", "true"}};
  EXPECT_TRUE(kReformer.traits(p, Options(kReformer.options, two)).exact);
  EXPECT_LE(forward_ratio(*reformer(p, two), *make_attention(kFull, p, {}), t), 1);
  two.pop_back();
  EXPECT_FALSE(kReformer.traits(p, Options(kReformer.options, two)).exact);
  EXPECT_GT(forward_ratio(*reformer(p, two), *make_attention(kFull, p, {}), t), 1);
}

TEST(Reformer, OfSharedQueriesAndOneBucketIsFullAttentionToOthers) {
  const Problem p = problem_of(23);
  ProblemTensors t(p);
  const auto plan = reformer(p, {{"shared_qk", "true"}});  // bucket_size 64 is more than 23
  EXPECT_LE(forward_ratio(*plan, *plan, t), 1);
  const Eigen::MatrixXd w = all_weights(*plan, t.inputs());
  Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> rows(
      t.queries.floats(), 23, 4);
  const Eigen::MatrixXd q = rows.cast<double>();
  Eigen::MatrixXd expected = (0.5 * q * q.rowwise().normalized().transpose()).array().exp();
  expected.diagonal().setZero();
  expected.array().colwise() /= expected.rowwise().sum().array().eval();
  EXPECT_LE((w - expected).cwiseAbs().maxCoeff(), 1e-12);
}

TEST(Reformer, SharedTokensWeighThemselvesOnlyIfNothingElseIsSeen) {
  Problem p = problem_of(40);
  p.mask.causal = true;
  ProblemTensors t(p);
  const auto plan = reformer(p, {{"shared_qk", "true"}, {"bucket_size", "4"}});
  EXPECT_LE(forward_ratio(*plan, *plan, t), 1);
  const Eigen::MatrixXd w = all_weights(*plan, t.inputs());
  EXPECT_EQ(w(0, 0), 1);
  for (Index i = 0; i < 40; ++i) {
    EXPECT_NEAR(w.row(i).sum(), 1, 1e-12);
    EXPECT_TRUE(w(i, i) == 0 || w(i, i) == 1);
  }
}

TEST(Reformer, WithQueriesEqualToKeysSeesTheTokenItself) {
  const Problem p = problem_of(97);
  ProblemTensors t(p);
  std::copy_n(t.queries.floats(), t.queries.size(), t.keys.floats());
  const Eigen::MatrixXd w = all_weights(
      *reformer(p, {{"num_hashes", "1"}, {"bucket_size", "5"}, {"look_back", "0"}}), t.inputs());
  EXPECT_GT(w.diagonal().minCoeff(), 0);
}

TEST(Reformer, CountsAPairOnceInHoweverManyRoundsItMeets) {
  // With two buckets half of all pairs meet in each of many rounds.
  for (bool causal : {false, true}) {
    Problem p = problem_of(300, 8);
    p.mask.causal = causal;
    ProblemTensors t(p);
    const auto plan = reformer(p, {{"num_hashes", "16"}, {"num_buckets", "2"}});
    EXPECT_LE(forward_ratio(*plan, *plan, t), 1);
    Context context(1);
    plan->forward(t.inputs(), t.outputs(), context);
    const Rows rows = plan->definition(t.inputs(), 0, 0)->rows(all_queries(p));
    for (Index i = 0; i < 300; ++i) {
      EXPECT_NEAR(t.logsumexp.floats()[i], rows.logsumexp(i), 1e-5);
    }
  }
}

TEST(Reformer, EqualsItsDefinitionForEveryMixOfSettingsAndMasks) {
  for (const char* across : {"false", "true"}) {
    for (const char* wrap : {"false", "true"}) {
      for (const char* shared : {"false", "true"}) {
        for (int masks = 0; masks < 8; ++masks) {
          Problem p = problem_of(131, 7);
          p.batch = 2;
          p.num_heads = 4;
          p.num_kv_heads = 2;
          p.value_dim = 9;
          p.mask.causal = (masks & 1) != 0;
          if ((masks & 2) != 0) p.mask.key_lengths = {131, 50};
          if ((masks & 4) != 0) {
            p.mask.alibi_slopes = {0.5, 0.25, 0.1, 0};
            for (Index j = 0; j < 131; ++j) p.mask.document_ids.push_back(j / 40 % 2);
          }
          ProblemTensors t(p);
          const auto plan = reformer(p, {{"across_buckets", across},
                                         {"wrap_around", wrap},
                                         {"shared_qk", shared},
                                         {"bucket_size", "6"},
                                         {"look_back", "3"},
                                         {"num_hashes", "3"}});
          EXPECT_LE(forward_ratio(*plan, *plan, t), 1)
              << across << wrap << shared << " masks " << masks;
        }
      }
    }
  }
}

TEST(Reformer, TakesAnyNumbersOfQueriesAndKeys) {
  for (auto [queries, keys] : {std::pair<Index, Index>{1, 1},
                               {1, 700},
                               {3, 5000},
                               {200, 13},
                               {97, 1},
                               {5, 0},
                               {101, 211}}) {
    for (bool causal : {false, true}) {
      Problem p = problem_of(keys, 6);
      p.query_len = queries;
      p.mask.causal = causal;
      ProblemTensors t(p);
      const auto plan = reformer(p, {{"bucket_size", "9"}, {"num_hashes", "2"}});
      EXPECT_LE(forward_ratio(*plan, *plan, t), 1) << queries << " " << keys;
    }
  }
}

TEST(Reformer, KeepsTheLawsWithManyBucketsInShortSequencesToo) {
  expect_conformance(kReformer, {{"bucket_size", "5"}});
  expect_conformance(kReformer, {{"bucket_size", "5"}, {"across_buckets", "true"}});
  expect_conformance(kReformer, {{"num_buckets", "12"}, {"num_hashes", "1"}, {"look_back", "0"}});
  expect_conformance(kReformer,
                     {{"bucket_size", "3"}, {"look_back", "4"}, {"wrap_around", "true"}});
  expect_conformance(kReformer, {{"bucket_size", "5"}, {"shared_qk", "true"}});
  expect_conformance(kReformer, {{"bucket_size", "5"},
                                 {"shared_qk", "true"},
                                 {"across_buckets", "true"},
                                 {"wrap_around", "true"}});
}

TEST(Reformer, HashesMoreThan128BucketsInTwoEvenFactors) {
  const Problem p = problem_of(5000, 12);
  EXPECT_EQ(settings(p, {{"bucket_size", "50"}}).factors, (std::array<Index, 2>{100, 1}));
  EXPECT_EQ(settings(p, {{"bucket_size", "20"}}).factors, (std::array<Index, 2>{16, 16}));
  EXPECT_EQ(settings(p, {{"num_buckets", "128"}}).factors, (std::array<Index, 2>{128, 1}));
  EXPECT_EQ(settings(p, {{"num_buckets", "240"}}).factors, (std::array<Index, 2>{12, 20}));
  const LshSettings s = settings(p, {{"bucket_size", "20"}});
  const ProblemTensors t(p);
  const std::vector<std::int32_t> all = buckets(LshHash(p, s), s, t.keys.view(), 0, 2000);
  EXPECT_GT(std::set<std::int32_t>(all.begin(), all.end()).size(), 250U);
  for (std::int32_t bucket : all) EXPECT_TRUE(bucket >= 0 && bucket < 256);
}

TEST(Reformer, HashOfAVectorDependsOnItHeadAndRoundAlone) {
  Problem p = problem_of(50, 12);
  p.num_heads = p.num_kv_heads = 2;
  const LshSettings few = settings(p, {{"bucket_size", "2"}, {"num_hashes", "2"}});
  const LshSettings many = settings(p, {{"bucket_size", "2"}, {"num_hashes", "5"}});
  const LshHash hash(p, few), longer(p, many);
  const ProblemTensors t(p);
  const std::vector<std::int32_t> all = buckets(hash, few, t.keys.view(), 0, 50);
  for (Index first : {0, 13, 49}) {
    const std::vector<std::int32_t> one = buckets(hash, few, t.keys.view(), first, 1);
    EXPECT_EQ(one[0], all[static_cast<size_t>(first)]);
    EXPECT_EQ(one[1], all[static_cast<size_t>(50 + first)]);
  }
  const std::vector<std::int32_t> more = buckets(longer, many, t.keys.view(), 0, 50);
  EXPECT_TRUE(std::equal(all.begin(), all.end(), more.begin()));
  EXPECT_NE(all, buckets(hash, few, t.keys.view(), 0, 50, 1));
}

TEST(Reformer, RefusesWhatDoesNotFitWithBothNumbers) {
  Problem p = problem_of(400);
  EXPECT_EQ(refusal(p, {{"bucket_size", "8"}, {"num_buckets", "50"}}),
            "bucket_size 8 and num_buckets 50 are both given; one follows from the other");
  EXPECT_EQ(refusal(p, {{"num_buckets", "7"}}),
            "num_buckets 7 is odd: a direction and its opposite make two");
  EXPECT_EQ(refusal(p, {{"num_buckets", "402"}}), "num_buckets 402 is more than key_len 400");
  EXPECT_EQ(refusal(p, {{"num_buckets", "130"}}),
            "num_buckets 130 is more than 128 and no product of two even factors: it must be a "
            "multiple of 4");
  EXPECT_EQ(refusal(p, {{"num_buckets", "132"}}), "");
  p.query_len = 3;
  EXPECT_EQ(refusal(p, {{"shared_qk", "true"}}),
            "shared_qk takes the keys from the queries, so it needs as many of both; query_len is "
            "3, key_len 400");
}

}  // namespace
}  // namespace longattn
