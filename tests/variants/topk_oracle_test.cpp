#include "variants/topk_oracle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "tests/variants/variant_testing.h"
#include "variants/longformer.h"
#include "variants/random_keys.h"

namespace longattn {
namespace {

std::unique_ptr<const Attention> topk(const Problem& p, Index k) {
  return make_attention(kTopkOracle, p, Options(kTopkOracle.options, {{"k", std::to_string(k)}}));
}

// Full attention's mass on the keys that each row weighs.
Eigen::VectorXd captured(const Eigen::MatrixXd& full, const Eigen::MatrixXd& rows) {
  return (rows.array() != 0).select(full, 0.0).rowwise().sum();
}

TEST(TopkOracle, KeepsTheLargestScoresOfAHandMadeRow) {
  // One component: scores are the keys 3, -1, 2, 3, 0 for query 1 and their negatives for query -1.
  Problem p = square_problem(5, false);
  p.query_len = 2;
  p.head_dim = p.value_dim = 1;
  p.scale = 1;
  ProblemTensors t(p);
  std::ranges::copy(std::vector<float>{1, -1}, t.queries.floats());
  std::ranges::copy(std::vector<float>{3, -1, 2, 3, 0}, t.keys.floats());
  const Eigen::MatrixXd two = all_weights(*topk(p, 2), t.inputs());
  Eigen::MatrixXd expected(2, 5);
  const double e = std::exp(-1.0);
  expected << 0.5, 0, 0, 0.5, 0,  //
      0, 1 / (1 + e), 0, 0, e / (1 + e);
  EXPECT_TRUE(two.isApprox(expected, 1e-15));
  // Of equal scores the lower index is taken.
  const Eigen::MatrixXd one = all_weights(*topk(p, 1), t.inputs());
  EXPECT_EQ(one(0, 0), 1);
  EXPECT_EQ(one(0, 3), 0);
}

// The claim of the name: among all rows with k keys these capture most; and k of them capture at
// least k/N of the mass, which random keys capture only on average.
TEST(TopkOracle, CapturesMoreThanAnyOtherKeysOfTheSameBudget) {
  for (bool causal : {false, true}) {
    Problem p = square_problem(131, causal);
    p.num_heads = 2;
    const ProblemTensors t(p, 1, 3);
    const Eigen::MatrixXd full = all_weights(*topk(p, 131), t.inputs(), 1);
    Eigen::VectorXd before = Eigen::VectorXd::Zero(131);
    for (Index k : {1, 7, 33, 131}) {
      const Eigen::VectorXd best = captured(full, all_weights(*topk(p, k), t.inputs(), 1));
      const auto others = {
          make_attention(kRandomKeys, p, Options(kRandomKeys.options, {{"k", std::to_string(k)}})),
          make_attention(kLongformer, p,
                         Options(kLongformer.options, {{"window", std::to_string((k - 1) / 2)}}))};
      for (const auto& other : others) {
        const Eigen::VectorXd theirs = captured(full, all_weights(*other, t.inputs(), 1));
        EXPECT_GE((best - theirs).minCoeff(), -1e-14) << k;
      }
      EXPECT_GE((best - before).minCoeff(), 0) << k;
      EXPECT_GE(best.minCoeff(), static_cast<double>(k) / 131 - 1e-14);
      before = best;
    }
    EXPECT_NEAR(before.minCoeff(), 1, 1e-14);
  }
}

TEST(TopkOracle, EqualsItsDefinitionWithTheHardestChoicesAndMasks) {
  Problem p = square_problem(257, false);
  p.batch = 2;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.query_len = 250;
  p.head_dim = 7;
  p.mask.key_lengths = {257, 101};
  p.mask.alibi_slopes = {0, 0.2, 0.1, 1};
  for (Index n = 0; n < 2 * 257; ++n) p.mask.document_ids.push_back(n / 31 % 4);
  for (bool causal : {false, true}) {
    p.mask.causal = causal;
    ProblemTensors t(p);
    // Every score twice: each choice is a tie.
    for (Index row = 0; row + 1 < 2 * 2 * 257; row += 2) {
      std::copy_n(t.keys.floats() + row * 7, 7, t.keys.floats() + (row + 1) * 7);
    }
    const auto plan = topk(p, 13);
    Context context(2);
    plan->forward(t.inputs(), t.outputs(), context);
    for (Index b = 0; b < 2; ++b) {
      for (Index h = 0; h < 4; ++h) {
        const auto definition = plan->definition(t.inputs(), b, h);
        const ExpectedRows expected =
            expected_rows(*plan, t.inputs(), *definition, b, h, all_queries(p));
        EXPECT_LE((expected.rows.weights.array() != 0).rowwise().count().maxCoeff(), 13);
        EXPECT_LE(worst_ratio(expected, output_rows(p, t.output, b, h)), 1);
      }
    }
  }
}

TEST(TopkOracle, DoesNotHideANumberThatIsNone) {
  const Problem p = square_problem(40, false);
  ProblemTensors t(p);
  t.keys.floats()[25 * 4] = std::numeric_limits<float>::quiet_NaN();
  Context context(1);
  topk(p, 3)->forward(t.inputs(), t.outputs(), context);
  for (Index i = 0; i < 40; ++i) EXPECT_TRUE(std::isnan(t.output.view().float_row(0, 0, i)[0]));
}

TEST(TopkOracle, NeedsMemoryLinearInTheLength) {
  const auto bytes = [](Index len) {
    return topk(square_problem(len, true), 64)->cost(2).workspace_bytes;
  };
  EXPECT_LT(bytes(16384), 2.1 * bytes(8192));
  EXPECT_LT(bytes(16384), 8e6);
}

}  // namespace
}  // namespace longattn
