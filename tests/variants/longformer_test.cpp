#include "variants/longformer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/tolerance.h"
#include "tests/test_tensors.h"
#include "variants/full.h"

namespace longattn {
namespace {

Problem square(Index len) {
  Problem p;
  p.num_heads = p.num_kv_heads = 1;
  p.query_len = p.key_len = len;
  p.head_dim = p.value_dim = 4;
  return p;
}

std::unique_ptr<const Attention> longformer(
    const Problem& p, std::vector<std::pair<std::string, std::string>> options) {
  return make_attention(kLongformer, p, Options(kLongformer.options, options));
}

// Which keys each query weighs, one row of 0 and 1 a query.
std::vector<std::string> pattern(const Attention& attention, const Inputs& inputs) {
  const auto definition = attention.definition(inputs, 0, 0);
  std::vector<std::string> picture;
  for (Index i = 0; i < attention.problem().query_len; ++i) {
    const std::vector<Index> query = {i};
    const Rows rows = definition->rows(query);
    std::string line;
    for (Index j = 0; j < rows.weights.cols(); ++j) line += rows.weights(0, j) > 0 ? '1' : '0';
    picture.push_back(line);
  }
  return picture;
}

TEST(Longformer, WeighsTheKeysThatAHandDrawnWindowShows) {
  const Problem p = square(5);
  const ProblemTensors t(p);
  using Picture = std::vector<std::string>;
  EXPECT_EQ(pattern(*longformer(p, {{"window", "1"}}), t.inputs()),
            (Picture{"11000", "11100", "01110", "00111", "00011"}));
  EXPECT_EQ(pattern(*longformer(p, {{"window", "1"}, {"dilation", "2"}}), t.inputs()),
            (Picture{"10100", "01010", "10101", "01010", "00101"}));
  EXPECT_EQ(pattern(*longformer(p, {{"window", "0"}, {"global_tokens", "[3]"}}), t.inputs()),
            (Picture{"10010", "01010", "00110", "11111", "00011"}));
  Problem causal = p;
  causal.mask.causal = true;
  EXPECT_EQ(pattern(*longformer(causal, {{"window", "1"}, {"global_tokens", "[0]"}}), t.inputs()),
            (Picture{"10000", "11000", "11100", "10110", "10011"}));
}

TEST(Longformer, OfEqualScoresIsTheMeanOfTheWindow) {
  // Zero queries: every key of the window weighs the same, so outputs are means of values 1..5.
  const Problem p = square(5);
  ProblemTensors t(p);
  std::fill_n(t.queries.floats(), t.queries.size(), 0.0f);
  for (Index j = 0; j < 5; ++j) {
    for (Index c = 0; c < 4; ++c) t.values.floats()[j * 4 + c] = static_cast<float>(j + 1);
  }
  Context context(1);
  longformer(p, {{"window", "1"}})->forward(t.inputs(), t.outputs(), context);
  const std::vector<float> means = {1.5f, 2, 3, 4, 4.5f};
  for (Index i = 0; i < 5; ++i) {
    EXPECT_NEAR(t.output.view().float_row(0, 0, i)[0], means[i], 1e-6);
  }
}

TEST(Longformer, WithAWindowOfTheWholeSequenceEqualsFullAttention) {
  for (Index len : {1, 2, 97, 257}) {
    for (bool causal : {false, true}) {
      Problem p = square(len);
      p.mask.causal = causal;
      ProblemTensors t(p);
      Context context(2);
      const auto plan = longformer(p, {{"window", std::to_string(std::max<Index>(len - 1, 0))}});
      EXPECT_TRUE(
          kLongformer.traits(p, Options(kLongformer.options, {{"window", std::to_string(len)}}))
              .exact);
      plan->forward(t.inputs(), t.output_alone(), context);
      const auto full = make_attention(kFull, p, {});
      std::vector<Index> queries;
      for (Index i = 0; i < len; ++i) queries.push_back(i);
      const auto definition = full->definition(t.inputs(), 0, 0);
      const ExpectedRows expected = expected_rows(*plan, t.inputs(), *definition, 0, 0, queries);
      Eigen::MatrixXd output(len, 4);
      for (Index i = 0; i < len; ++i) {
        for (Index c = 0; c < 4; ++c) output(i, c) = t.output.view().float_row(0, 0, i)[c];
      }
      EXPECT_LE(worst_ratio(expected, output), 1);
    }
  }
}

// Counting by hand: N + 2 sum_{t=1..w} max(0, N - t delta); causal: N + sum.
TEST(Longformer, ScoresAsManyPairsAsTheWindowFormulaSays) {
  for (Index len : {1, 10, 57}) {
    for (Index window : {0, 1, 7, 100}) {
      for (Index dilation : {1, 2, 5}) {
        Problem p = square(len);
        double side = 0;
        for (Index t = 1; t <= window; ++t) {
          side += static_cast<double>(std::max<Index>(0, len - t * dilation));
        }
        const auto pairs = [&] {
          return longformer(p, {{"window", std::to_string(window)},
                                {"dilation", std::to_string(dilation)}})
              ->cost(1)
              .scored_pairs;
        };
        EXPECT_EQ(pairs(), static_cast<double>(len) + 2 * side);
        p.mask.causal = true;
        EXPECT_EQ(pairs(), static_cast<double>(len) + side);
      }
    }
  }
}

TEST(Longformer, TakesGlobalRowsFromTheGlobalProjections) {
  Problem p = square(150);
  p.num_heads = 2;
  ProblemTensors t(p);
  const Tensor gq = gaussian_tensor(t.queries.shape(), 11),
               gk = gaussian_tensor(t.keys.shape(), 12);
  const Tensor gv = gaussian_tensor(t.values.shape(), 13);
  const std::vector<NamedTensor> extra = {
      {"global_queries", gq.view()}, {"global_keys", gk.view()}, {"global_values", gv.view()}};
  Inputs inputs = t.inputs();
  inputs.extra = extra;
  const auto plan = longformer(p, {{"window", "3"}, {"global_tokens", "[0, 140]"}});
  Context context(2);
  plan->forward(inputs, t.outputs(), context);
  EXPECT_LE(static_cast<double>(context.workspace().peak_bytes()), plan->cost(2).workspace_bytes);
  std::vector<Index> queries;
  for (Index i = 0; i < p.query_len; ++i) queries.push_back(i);
  for (Index h = 0; h < p.num_heads; ++h) {
    const auto definition = plan->definition(inputs, 0, h);
    const ExpectedRows expected = expected_rows(*plan, inputs, *definition, 0, h, queries);
    EXPECT_EQ(expected.rows.value_source[140], 3);
    EXPECT_EQ(expected.rows.value_source[139], 0);
    Eigen::MatrixXd output(p.query_len, 4);
    for (Index i = 0; i < p.query_len; ++i) {
      for (Index c = 0; c < 4; ++c) output(i, c) = t.output.view().float_row(0, h, i)[c];
    }
    EXPECT_LE(worst_ratio(expected, output), 1);
  }
  // All tokens global: full attention with the global projections.
  std::string all = "[0";
  for (Index j = 1; j < p.key_len; ++j) all += ", " + std::to_string(j);
  longformer(p, {{"global_tokens", all + "]"}})->forward(inputs, t.outputs(), context);
  Tensor reference(t.output.shape());
  make_attention(kFull, p, {})
      ->forward({gq.view(), gk.view(), gv.view(), {}}, {reference.mutable_view(), {}}, context);
  for (Index n = 0; n < reference.size(); ++n) {
    ASSERT_NEAR(t.output.floats()[n], reference.floats()[n], 1e-5);
  }
}

// cost() does not know whether global projections will be given, and must not ask for more because
// of it: one global row of many heads is few blocks, whose keys the engine splits.
TEST(Longformer, TakesExactlyTheMemoryThatItPredictsWithAGlobalToken) {
  Problem p = square(9000);
  p.num_heads = p.num_kv_heads = 4;
  ProblemTensors t(p);
  for (const char* dilation : {"1", "3"}) {
    const auto plan =
        longformer(p, {{"window", "2"}, {"dilation", dilation}, {"global_tokens", "[0]"}});
    Context context(2);
    plan->forward(t.inputs(), t.outputs(), context);
    EXPECT_EQ(static_cast<double>(context.workspace().peak_bytes()), plan->cost(2).workspace_bytes);
  }
}

TEST(Longformer, RefusesSomeButNotAllGlobalProjections) {
  const Problem p = square(5);
  ProblemTensors t(p);
  const std::vector<NamedTensor> extra = {{"global_queries", t.queries.view()}};
  Inputs inputs = t.inputs();
  inputs.extra = extra;
  Context context(1);
  EXPECT_THROW(longformer(p, {})->forward(inputs, t.outputs(), context), ShapeError);
}

TEST(Longformer, RefusesAGlobalTokenBeyondTheSequence) {
  try {
    longformer(square(5), {{"global_tokens", "[7]"}});
    FAIL();
  } catch (const UnsupportedError& error) {
    EXPECT_STREQ(error.what(), "longformer: global token 7 lies beyond the sequence, key_len is 5");
  }
}

}  // namespace
}  // namespace longattn
