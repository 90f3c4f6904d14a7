#include "variants/low_rank_oracle.h"

#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <cmath>
#include <vector>

#include "tests/variants/variant_testing.h"
#include "variants/full.h"

namespace longattn {
namespace {

std::unique_ptr<const Attention> low_rank(const Problem& p, Index k) {
  return make_attention(kLowRankOracle, p,
                        Options(kLowRankOracle.options, {{"k", std::to_string(k)}}));
}

Problem sized(Index query_len, Index key_len) {
  Problem p;
  p.num_heads = p.num_kv_heads = 1;
  p.query_len = query_len;
  p.key_len = key_len;
  p.head_dim = 8;
  p.value_dim = 4;
  return p;
}

TEST(LowRankOracle, OfAMatrixThatIsKnownIsItsProjectionByHand) {
  // Queries 0 and t with keys 0 and 1: rows (1/2, 1/2) and (p, 1 - p). The best direction of a 2 x
  // 2 matrix is the eigenvector of W^T W = [[a, c], [c, b]] with the larger eigenvalue.
  Problem p = sized(2, 2);
  p.head_dim = 1;
  p.scale = 1;
  ProblemTensors t(p);
  t.queries.floats()[0] = 0;
  t.queries.floats()[1] = 2;
  t.keys.floats()[0] = 0;
  t.keys.floats()[1] = 1;
  const double high = 1 / (1 + std::exp(-2.0)), low = 1 - high;
  const double a = 0.25 + low * low, b = 0.25 + high * high, c = 0.25 + low * high;
  const double angle = std::atan2(2 * c, a - b) / 2;
  const Eigen::Vector2d direction(std::cos(angle), std::sin(angle));
  Eigen::Matrix2d w;
  w << 0.5, 0.5, low, high;
  const Eigen::Matrix2d expected = w * direction * direction.transpose();
  EXPECT_TRUE(all_weights(*low_rank(p, 1), t.inputs()).isApprox(expected, 1e-12));
}

// The claim: error sqrt(sum_{a > k} sigma_a^2), the least that rank k allows.
TEST(LowRankOracle, IsAsFarFromFullAttentionAsTheSpectrumSays) {
  for (const Problem& p : {sized(97, 97), sized(60, 150), sized(150, 41)}) {
    const ProblemTensors t(p, 1, 3);
    const Eigen::MatrixXd full = all_weights(*make_attention(kFull, p, {}), t.inputs());
    const Eigen::VectorXd sigma = Eigen::JacobiSVD<Eigen::MatrixXd>(full).singularValues();
    for (Index k : {1, 3, 16, 40}) {
      const Eigen::MatrixXd nearest = all_weights(*low_rank(p, k), t.inputs());
      const double expected = sigma.tail(sigma.size() - k).norm();
      EXPECT_NEAR((full - nearest).norm(), expected, 1e-6 * expected + 1e-9) << k;
      const Eigen::VectorXd own = Eigen::JacobiSVD<Eigen::MatrixXd>(nearest).singularValues();
      EXPECT_LE(own(k), 1e-12) << "rank above " << k;
    }
  }
}

TEST(LowRankOracle, OfFullRankIsFullAttention) {
  const Problem p = sized(30, 45);
  ProblemTensors t(p);
  const Eigen::MatrixXd full = all_weights(*make_attention(kFull, p, {}), t.inputs());
  EXPECT_TRUE(all_weights(*low_rank(p, 30), t.inputs()).isApprox(full, 1e-14));
  EXPECT_TRUE(kLowRankOracle.traits(p, Options(kLowRankOracle.options, {{"k", "30"}})).exact);
}

TEST(LowRankOracle, LeavesPaddingOutAndKeepsHeadsApart) {
  Problem p = sized(50, 70);
  p.batch = 3;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.mask.key_lengths = {70, 0, 9};
  p.mask.alibi_slopes = {0, 0.1, 0.3, 1};
  ProblemTensors t(p);
  const auto plan = low_rank(p, 10);
  Context context(2);
  plan->forward(t.inputs(), t.output_alone(), context);
  EXPECT_LE(static_cast<double>(context.workspace().peak_bytes()), plan->cost(2).workspace_bytes);
  for (Index b = 0; b < 3; ++b) {
    for (Index h = 0; h < 4; ++h) {
      const auto definition = plan->definition(t.inputs(), b, h);
      const ExpectedRows expected =
          expected_rows(*plan, t.inputs(), *definition, b, h, all_queries(p));
      EXPECT_TRUE(expected.rows.weights.rightCols(70 - p.visible_key_len(b)).isZero(0));
      EXPECT_LE(worst_ratio(expected, output_rows(p, t.output, b, h)), 1);
    }
  }
}

// Sizes where the Krylov vectors are fewer than the keys, where they are all, where no direction is
// looked for, and where the output needs more than the choice.
TEST(LowRankOracle, TakesExactlyTheMemoryThatItPredicts) {
  Problem wide = sized(3, 40);
  wide.value_dim = 300;
  for (const auto& [p, k] :
       {std::pair(sized(300, 260), Index{2}), std::pair(sized(90, 80), Index{7}),
        std::pair(sized(20, 30), Index{20}), std::pair(wide, Index{8})}) {
    ProblemTensors t(p);
    const auto plan = low_rank(p, k);
    Context context(2);
    plan->forward(t.inputs(), t.output_alone(), context);
    EXPECT_EQ(static_cast<double>(context.workspace().peak_bytes()), plan->cost(2).workspace_bytes)
        << p.key_len << " keys, rank " << k;
  }
}

TEST(LowRankOracle, PredictsOperationsAndMemoryThatGrowAsDeclared) {
  const Growth declared = kLowRankOracle.growth(Options(kLowRankOracle.options));
  const Cost half = low_rank(sized(2048, 2048), 8)->cost(1),
             whole = low_rank(sized(4096, 4096), 8)->cost(1);
  EXPECT_NEAR(std::log2(whole.flops / half.flops), declared.time, 0.1);
  EXPECT_NEAR(std::log2(whole.workspace_bytes / half.workspace_bytes), declared.memory, 0.1);
}

TEST(LowRankOracle, RefusesWhatItCannotHoldAndMasksThatItWouldBreak) {
  const auto reason = [](const Problem& p) {
    return kLowRankOracle.unsupported(p, Options(kLowRankOracle.options));
  };
  EXPECT_EQ(reason(sized(4096, 4096)), "");
  EXPECT_NE(reason(sized(1, 4097)).find("at most 4096 tokens, not 4097"), std::string::npos);
  Problem p = sized(9, 9);
  p.mask.causal = true;
  EXPECT_NE(reason(p).find("future"), std::string::npos);
  p.mask.causal = false;
  p.mask.document_ids.assign(9, 0);
  EXPECT_NE(reason(p).find("documents"), std::string::npos);
}

}  // namespace
}  // namespace longattn
