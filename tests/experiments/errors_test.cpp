#include "experiments/judge/errors.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/test_tensors.h"
#include "variants/blockwise.h"
#include "variants/longformer.h"
#include "variants/mean_value.h"
#include "variants/random_keys.h"
#include "variants/reformer/reformer.h"
#include "variants/zero.h"

namespace longattn {
namespace {

Problem small() {
  Problem p;
  p.batch = 2;
  p.num_heads = 2;
  p.num_kv_heads = 1;
  p.query_len = p.key_len = 60;
  p.head_dim = p.value_dim = 8;
  p.mask.causal = true;
  return p;
}

CellResult judge(const Variant& variant, const std::vector<std::pair<std::string, std::string>>& o,
                 const Problem& p, int threads = 1, Index rows = 64) {
  const ProblemTensors t(p);
  const Options options(variant.options, o);
  Context context(threads);
  CellResult result;
  const auto attention = make_attention(variant, p, options);
  Tensor output({p.batch, p.num_heads, p.query_len, p.value_dim});
  attention->forward(t.inputs(), {output.mutable_view(), {}}, context);
  judge_errors({*attention, variant.traits(p, options), t.inputs(), output.mutable_view()},
               {rows, 1}, context, result);
  return result;
}

TEST(JudgeErrors, OfAnExactVariantIsNothingButRounding) {
  const CellResult r = judge(kBlockwise, {}, small());
  EXPECT_EQ(r.status, Status::ok);
  EXPECT_EQ(r.sampled_rows, 64);
  EXPECT_EQ(r.relative_error->value, 0);
  EXPECT_LE(*r.implementation_ratio, 1);
  EXPECT_GT(*r.implementation_ratio, 0);
  EXPECT_NEAR(r.captured_mass->value, 1, 1e-12);
  EXPECT_GT(*r.relative_error_floor, 1e-9);
  EXPECT_LT(*r.relative_error_floor, 1e-5);
}

TEST(JudgeErrors, OfKeysOfTheVariantsOwnMakingAreToldAgainstFullAttentionOverThemToo) {
  // One bucket: full attention over the shared keys, and far from that over the given ones.
  const CellResult whole = judge(kReformer, {{"shared_qk", "true"}}, small());
  EXPECT_EQ(whole.status, Status::ok);
  EXPECT_GT(whole.relative_error->value, 0.1);
  EXPECT_LT(whole.own_relative_error->value, 1e-12);
  const CellResult part = judge(kReformer, {{"shared_qk", "true"}, {"bucket_size", "6"}}, small());
  EXPECT_GT(part.own_relative_error->value, 0.1);
  EXPECT_FALSE(judge(kReformer, {{"bucket_size", "6"}}, small()).own_relative_error.has_value());
}

TEST(JudgeErrors, OfZeroIsExactlyOneAndHasNoMass) {
  const CellResult r = judge(kZero, {}, small());
  EXPECT_DOUBLE_EQ(r.relative_error->value, 1);
  EXPECT_DOUBLE_EQ(r.relative_error->low, 1);
  EXPECT_DOUBLE_EQ(r.relative_error->high, 1);
  EXPECT_DOUBLE_EQ(*r.row_error_worst, 1);
  EXPECT_FALSE(r.captured_mass);
}

// Over all rows of one head the relative error is ||O - F|| / ||F||, computed here by hand.
TEST(JudgeErrors, OverAllRowsIsTheFrobeniusRatio) {
  Problem p = small();
  p.batch = p.num_heads = 1;
  const ProblemTensors t(p);
  const auto window =
      make_attention(kLongformer, p, Options(kLongformer.options, {{"window", "2"}}));
  const auto exact = make_attention(kBlockwise, p, Options(kBlockwise.options));
  Tensor near({1, 1, 60, 8}), full({1, 1, 60, 8});
  Context context(1);
  window->forward(t.inputs(), {near.mutable_view(), {}}, context);
  exact->forward(t.inputs(), {full.mutable_view(), {}}, context);
  double error2 = 0, full2 = 0;
  for (Index n = 0; n < near.size(); ++n) {
    const double f = full.floats()[n], e = near.floats()[n] - f;
    error2 += e * e;
    full2 += f * f;
  }
  const CellResult r = judge(kLongformer, {{"window", "2"}}, p, 1, 60);
  EXPECT_EQ(r.sampled_rows, 60);
  EXPECT_NEAR(r.relative_error->value, std::sqrt(error2 / full2), 1e-5);
  EXPECT_EQ(r.relative_error->low, r.relative_error->high) << "all rows: nothing is estimated";
  const CellResult some = judge(kLongformer, {{"window", "2"}}, p, 1, 30);
  EXPECT_EQ(some.sampled_rows, 30);
  EXPECT_LT(some.relative_error->low, some.relative_error->value);
  EXPECT_GT(some.relative_error->high, some.relative_error->value);
}

// The same of each head, over its rows in both batch entries; and nothing where these are few.
TEST(JudgeErrors, OfHeadsAreTheFrobeniusRatiosOfTheirRows) {
  const Problem p = small();
  const ProblemTensors t(p);
  const auto window =
      make_attention(kLongformer, p, Options(kLongformer.options, {{"window", "2"}}));
  const auto exact = make_attention(kBlockwise, p, Options(kBlockwise.options));
  Tensor near({2, 2, 60, 8}), full({2, 2, 60, 8});
  Context context(1);
  window->forward(t.inputs(), {near.mutable_view(), {}}, context);
  exact->forward(t.inputs(), {full.mutable_view(), {}}, context);
  const CellResult r = judge(kLongformer, {{"window", "2"}}, p, 1, 240);
  ASSERT_EQ(r.head_errors.size(), 2u);
  for (Index h : {0, 1}) {
    double error2 = 0, full2 = 0;
    for (Index b : {0, 1}) {
      for (Index i = 0; i < 60; ++i) {
        for (Index c = 0; c < 8; ++c) {
          const double f = full.mutable_view().row(b, h, i)[c];
          const double e = near.mutable_view().row(b, h, i)[c] - f;
          error2 += e * e;
          full2 += f * f;
        }
      }
    }
    const Estimate& error = r.head_errors[static_cast<size_t>(h)];
    EXPECT_NEAR(error.value, std::sqrt(error2 / full2), 1e-5);
    EXPECT_EQ(error.low, error.high) << "all rows: nothing is estimated";
  }
  EXPECT_NE(r.head_errors[0].value, r.head_errors[1].value);
  const CellResult some = judge(kLongformer, {{"window", "2"}}, p, 1, 2 * kFewestHeadRows);
  ASSERT_EQ(some.head_errors.size(), 2u);
  EXPECT_LT(some.head_errors[0].low, some.head_errors[0].value);
  EXPECT_TRUE(judge(kLongformer, {{"window", "2"}}, p, 1, 40).head_errors.empty());
}

// What a softmax on fewer keys loses is the lost mass times how much the lost values differ: in
// one row with weights (1/2, 1/4, 1/4) on values (1, 5, 9) of which the first is lost,
// 4 - 7 = 1/2 (1 - 7). Here over all rows, from the measures alone.
TEST(JudgeErrors, OfRestrictedRowsIsLostMassTimesContrast) {
  const CellResult r = judge(kLongformer, {{"window", "3"}}, small());
  ASSERT_TRUE(r.value_contrast && r.total_variation && r.kl_divergence);
  // The total variation of a renormalised restriction is the lost mass itself, and its divergence
  // -log(1 - lost), at least the lost mass.
  EXPECT_NEAR(*r.total_variation, 1 - r.captured_mass->value, 1e-12);
  EXPECT_GT(*r.kl_divergence, *r.total_variation);
  // The root of the mean square of lost masses lies between their mean and 1.
  const double rms = r.relative_error->value / *r.value_contrast;
  EXPECT_GE(rms, 1 - r.captured_mass->value);
  EXPECT_LE(rms, 1);
}

TEST(JudgeErrors, ReadsAnErrorAgainstTheMeanOfTheValuesAndTheBestChoiceOfKeys) {
  const CellResult window = judge(kLongformer, {{"window", "3"}}, small()),
                   mean = judge(kMeanValue, {}, small());
  EXPECT_NEAR(*window.mean_value_error, mean.relative_error->value, 1e-12);
  EXPECT_EQ(*mean.mean_value_error, *window.mean_value_error);
  EXPECT_LT(*window.oracle_error, window.relative_error->value);
  EXPECT_GT(*window.oracle_error, 0);
  EXPECT_LT(*window.top_recall, 1);
  EXPECT_GT(*window.top_recall, 0);
  EXPECT_FALSE(mean.oracle_error) << "a mean chooses no keys";
  const CellResult all = judge(kBlockwise, {}, small());
  EXPECT_NEAR(*all.oracle_error, 0, 1e-12);
  EXPECT_EQ(*all.top_recall, 1);
  EXPECT_EQ(*all.uncovered_rows, 0);
  EXPECT_FALSE(all.value_contrast) << "nothing is lost";
}

// Keys 0 and 1 of one causal head: row 0 has entropy 0, row 1 that of its two weights.
TEST(JudgeErrors, EntropyIsThatOfFullAttention) {
  Problem p = small();
  p.batch = p.num_heads = 1;
  p.query_len = p.key_len = 2;
  const ProblemTensors t(p);
  double score[2] = {0, 0};
  std::vector<float> query(8), row(8);
  load_floats(p.dtype, t.inputs().queries.row(0, 0, 1), p.head_dim, query.data());
  for (Index key : {0, 1}) {
    load_floats(p.dtype, t.inputs().keys.row(0, 0, key), p.head_dim, row.data());
    for (size_t c = 0; c < 8; ++c) {
      score[key] +=
          p.effective_scale() * static_cast<double>(query[c]) * static_cast<double>(row[c]);
    }
  }
  const double w = 1 / (1 + std::exp(score[1] - score[0]));
  const double entropy = -w * std::log(w) - (1 - w) * std::log(1 - w);
  EXPECT_NEAR(*judge(kBlockwise, {}, p).row_entropy, entropy / 2, 1e-6);
}

TEST(JudgeErrors, OfADrawingVariantTellsTheSpreadOverSeeds) {
  Problem p = small();
  const ProblemTensors t(p);
  const Options options(kRandomKeys.options, {{"k", "4"}});
  Context context(1);
  CellResult r;
  const Reseeded reseeded = [&](Index n) {
    return make_attention(kRandomKeys, p,
                          options.with(kRandomKeys.options, "seed", std::to_string(100 + n)));
  };
  const auto attention = make_attention(kRandomKeys, p, options);
  Tensor output({p.batch, p.num_heads, p.query_len, p.value_dim});
  attention->forward(t.inputs(), {output.mutable_view(), {}}, context);
  judge_errors({*attention, kRandomKeys.traits(p, options), t.inputs(), output.mutable_view()},
               {64, 1}, context, r, reseeded, 8);
  ASSERT_TRUE(r.seeds);
  EXPECT_EQ(*r.seeds, 8);
  EXPECT_GE(*r.seed_error_worst, *r.seed_error_mean);
  EXPECT_GT(*r.seed_spread, 0);
  // mean square error = bias^2 + variance, and the mean of roots is at most the root of the mean;
  // the sample variance of 8 is the unbiased one, so that the identity is exact.
  const double mean_square = *r.seed_bias * *r.seed_bias + *r.seed_spread * *r.seed_spread;
  EXPECT_LE(*r.seed_error_mean * *r.seed_error_mean, mean_square * (1 + 1e-12));
  EXPECT_GE(*r.seed_error_worst * *r.seed_error_worst, mean_square * (1 - 1e-12));
  const CellResult fixed = judge(kLongformer, {{"window", "3"}}, p);
  EXPECT_FALSE(fixed.seeds);
}

TEST(JudgeErrors, DoesNotDependOnTheNumberOfThreads) {
  const CellResult one = judge(kMeanValue, {}, small(), 1),
                   three = judge(kMeanValue, {}, small(), 3);
  EXPECT_EQ(one.relative_error->value, three.relative_error->value);
  EXPECT_EQ(one.relative_error->low, three.relative_error->low);
  EXPECT_EQ(*one.implementation_ratio, *three.implementation_ratio);
}

}  // namespace
}  // namespace longattn
