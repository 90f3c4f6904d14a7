// Reformer: cases worked out by hand, the settings at which it is full attention, and what Kitaev
// et al. 2020 say of rounds.
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "tests/variants/written_out.h"
#include "variants/reformer/reformer.h"

namespace longattn {
namespace {

// One component and five tokens of signs + - + - +: whatever is drawn, a bucket holds the tokens of
// one sign. Chunks of 2 keys; which sign comes first is up to the draw:
//   + first: 0 2 | 4 1 | 3        - first: 1 3 | 0 2 | 4
// Without looking back and within the bucket, 0 and 2 see each other, 4 itself; 1 and 3 see each
// other only in the second order.
struct Signs {
  explicit Signs(bool shared, Index look_back = 0) {
    p.scale = 1;
    attention = make_with(kReformer, p,
                          {{"num_hashes", "1"},
                           {"bucket_size", "1"},
                           {"look_back", text_of(look_back)},
                           {"shared_qk", shared ? "true" : "false"}});
    tensors = std::make_unique<ProblemTensors>(p);
    for (Tensor* tensor : {&tensors->queries, &tensors->keys}) {
      std::ranges::copy(std::array{1.0F, -1.0F, 2.0F, -2.0F, 1.0F}, tensor->floats());
    }
    weights = all_weights(*attention, tensors->inputs());
  }
  Problem p = problem_of(5, 1);
  std::unique_ptr<const Attention> attention;
  std::unique_ptr<ProblemTensors> tensors;
  Eigen::MatrixXd weights;
};

TEST(ReformerClaims, FiveTokensOfTwoSignsByHand) {
  const Signs s(false);
  const double e1 = std::exp(1.0), e2 = std::exp(2.0), e4 = std::exp(4.0);
  Eigen::MatrixXd expected = Eigen::MatrixXd::Zero(5, 5);
  expected(0, 0) = e1 / (e1 + e2);  // scores 1 * 1 and 1 * 2
  expected(0, 2) = e2 / (e1 + e2);
  expected(2, 0) = e2 / (e2 + e4);  // scores 2 * 1 and 2 * 2
  expected(2, 2) = e4 / (e2 + e4);
  expected(4, 4) = 1;
  if (s.weights(1, 3) > 0) {  // - came first
    expected(1, 1) = e1 / (e1 + e2);
    expected(1, 3) = e2 / (e1 + e2);
    expected(3, 1) = e2 / (e2 + e4);
    expected(3, 3) = e4 / (e2 + e4);
  } else {
    expected(1, 1) = expected(3, 3) = 1;
  }
  EXPECT_LT((s.weights - expected).cwiseAbs().maxCoeff(), 1e-15);
}

// Shared: keys are 1, -1, 1, -1, 1, and nobody weighs itself but who sees no other. Looking one
// chunk back, 4 sees 0 and 2 in both orders, and in the first 3 sees 1 (but 1 not 3).
TEST(ReformerClaims, FiveTokensOfSharedQueriesAndKeysByHand) {
  Eigen::MatrixXd expected = Eigen::MatrixXd::Zero(5, 5);
  const Signs alone(true);
  expected(0, 2) = expected(2, 0) = expected(4, 4) = 1;
  const bool minus_first = alone.weights(1, 3) > 0;
  expected(1, minus_first ? 3 : 1) = expected(3, minus_first ? 1 : 3) = 1;
  EXPECT_EQ(alone.weights, expected);
  const Signs back(true, 1);
  expected.row(4) << 0.5, 0, 0.5, 0, 0;
  expected.row(3) << 0, 1, 0, 0, 0;
  EXPECT_EQ(back.weights, expected);
}

// "With one bucket", any number of rounds; and N = 2 m with both chunks seeing each other.
TEST(ReformerClaims, OneBucketOrTwoChunksThatSeeEachOtherAreFullAttention) {
  Dice dice(4);
  for (int n = 0; n < 80; ++n) {
    Problem p = drawn_problem(dice, 61);
    const bool shared = dice.one_in(2);
    if (shared) p.query_len = p.key_len;
    OptionTexts options = {{"num_hashes", text_of(dice.between(1, 4))},
                           {"shared_qk", shared ? "true" : "false"}};
    if (p.key_len % 4 == 0 && p.key_len > 0) {
      p.mask.key_lengths.clear();
      options.push_back({"bucket_size", text_of(p.key_len / 4)});  // chunks of N / 2
      options.push_back({"across_buckets", "true"});
      options.push_back({"wrap_around", "true"});
    } else {
      options.push_back({"bucket_size", text_of(p.key_len + dice.below(3) + (p.key_len == 0))});
    }
    const auto rows = [&](const DrawnTensors& t, Index b, Index h) {
      if (!shared) return softmax_rows(p, t, b, h, [](Index, Index) { return 1; });
      const Vectors queries = t.all(0, b, h);
      Vectors keys = queries;
      for (auto& key : keys) {
        double square = 0;
        for (const double x : key) square += x * x;
        for (double& x : key) x /= std::sqrt(square);
      }
      return softmax_rows(p, b, h, queries, keys, [&](Index i, Index j) {
        if (i != j) return 1;
        for (Index other = 0; other < p.key_len; ++other) {
          if (other != i && mask_shows(p, b, i, other)) return 0;
        }
        return 1;
      });
    };
    expect_as_written_out({&kReformer, p, options, rows}, dice);
    if (HasFatalFailure() || !shared) continue;
    // What errors of shared queries and keys are told against, too.
    const DrawnTensors t(p);
    const auto own = make_with(kReformer, p, options)->own_full_attention(t.inputs(), 0, 0);
    ASSERT_NE(own, nullptr);
    expect_rows(own->rows(all_queries(p)), rows(t, 0, 0), p.head_dim);
  }
}

TEST(ReformerClaims, SharedQueriesOfZerosAndKeysThatAreNotReadDoNoHarm) {
  Problem p = problem_of(6);
  ProblemTensors t(p);
  std::fill_n(t.keys.floats(), t.keys.size(), std::nanf(""));
  std::fill_n(t.queries.floats() + 8, 8, 0.0F);  // tokens 2 and 3
  const auto attention =
      make_with(kReformer, p, {{"shared_qk", "true"}, {"bucket_size", "6"}, {"num_hashes", "2"}});
  const Eigen::MatrixXd w = all_weights(*attention, t.inputs());
  for (const Index i : {2, 3}) {
    for (Index j = 0; j < 6; ++j) EXPECT_NEAR(w(i, j), i == j ? 0 : 0.2, 1e-15);
  }
  EXPECT_LE(forward_ratio(*attention, *attention, t), 1);
}

// Figure 5 and section 3: "with a single hash many attention targets are missed; more rounds find
// them". Keys in clusters, queries near the same centres.
TEST(ReformerClaims, RecallOfTheNearestKeysRisesWithRounds) {
  constexpr Index kLen = 256, kDim = 16, kClusters = 32, kNearest = 8;
  const Problem p = problem_of(kLen, kDim);
  ProblemTensors t(p);
  const Tensor centres = gaussian_tensor({1, 1, kClusters, kDim}, 77);
  const CounterRandom random(9);
  for (Index i = 0; i < kLen; ++i) {
    for (Index c = 0; c < kDim; ++c) {
      const auto add = [&](Tensor& tensor, Index cluster) {
        float& x = tensor.floats()[i * kDim + c];
        x = centres.floats()[cluster * kDim + c] + 0.3F * x;
      };
      const auto counter = static_cast<std::uint64_t>(i);
      add(t.keys, static_cast<Index>(random.below(counter, kClusters)));
      add(t.queries, static_cast<Index>(random.below(counter + kLen, kClusters)));
    }
  }
  const auto vectors = [&](const Tensor& tensor) {
    Vectors all;
    for (Index i = 0; i < kLen; ++i) {
      all.emplace_back(tensor.floats() + i * kDim, tensor.floats() + (i + 1) * kDim);
    }
    return all;
  };
  const Rows full =
      softmax_rows(p, 0, 0, vectors(t.queries), vectors(t.keys), [](Index, Index) { return 1; });
  double before = 0;
  for (const Index rounds : {1, 2, 4, 8, 16}) {
    const Eigen::MatrixXd w = all_weights(
        *make_with(kReformer, p, {{"num_hashes", text_of(rounds)}, {"bucket_size", "16"}}),
        t.inputs());
    double found = 0, seen = 0;
    for (Index i = 0; i < kLen; ++i) {
      std::vector<Index> order(kLen);
      for (Index j = 0; j < kLen; ++j) order[static_cast<size_t>(j)] = j;
      std::ranges::sort(order,
                        [&](Index a, Index b) { return full.weights(i, a) > full.weights(i, b); });
      for (size_t n = 0; n < kNearest; ++n) found += w(i, order[n]) > 0;
      seen += static_cast<double>((w.row(i).array() > 0).count());
    }
    const double recall = found / (kLen * kNearest), chance = seen / (kLen * kLen);
    EXPECT_GT(recall, before + 0.02) << rounds;
    EXPECT_GT(recall, std::min(2 * chance, (1 + chance) / 2)) << rounds << " by chance " << chance;
    before = recall;
  }
  EXPECT_GT(before, 0.9);
}

std::string refusal(const Problem& p, const OptionTexts& options) {
  try {
    make_with(kReformer, p, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ReformerClaims, WhatCannotBeIsRefused) {
  const Problem p = problem_of(400);
  EXPECT_EQ(refusal(p, {{"num_buckets", "1"}}), "");
  EXPECT_EQ(refusal(p, {{"num_buckets", "128"}}), "");
  EXPECT_EQ(refusal(p, {{"num_buckets", "132"}}), "");
  EXPECT_NE(refusal(p, {{"num_buckets", "7"}}), "") << "odd";
  EXPECT_NE(refusal(p, {{"num_buckets", "130"}}), "") << "2 * 65";
  EXPECT_NE(refusal(p, {{"num_buckets", "404"}}), "") << "more than keys";
  EXPECT_NE(refusal(p, {{"num_buckets", "8"}, {"bucket_size", "8"}}), "") << "both";
  Problem fewer = p;
  fewer.query_len = 399;
  EXPECT_NE(refusal(fewer, {{"shared_qk", "true"}}), "");
  EXPECT_EQ(refusal(fewer, {}), "");
}

}  // namespace
}  // namespace longattn
