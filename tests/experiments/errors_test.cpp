#include "experiments/judge/errors.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/test_tensors.h"
#include "variants/blockwise.h"
#include "variants/longformer.h"
#include "variants/mean_value.h"
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
  judge_errors(*make_attention(variant, p, options), variant.traits(p, options), t.inputs(),
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
  EXPECT_LT(r.relative_error->low, r.relative_error->value);
  EXPECT_GT(r.relative_error->high, r.relative_error->value);
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
