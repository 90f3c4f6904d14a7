#include "variants/adaptive_span.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/io/npy.h"
#include "tests/temporary_folder.h"
#include "tests/variants/variant_testing.h"

namespace longattn {
namespace {

std::unique_ptr<const Attention> adaptive_span(const Problem& p, const OptionTexts& options) {
  return make_with(kAdaptiveSpan, p, options);
}

// The soft mask itself: zero queries make every score zero, so a row is m over its sum; scaled so
// that its largest entry is 1.
Eigen::MatrixXd soft_masks(const Attention& attention) {
  const Problem& p = attention.problem();
  ProblemTensors t(p);
  std::fill_n(t.queries.floats(), t.queries.size(), 0.0f);
  Eigen::MatrixXd weights = all_weights(attention, t.inputs());
  for (Index i = 0; i < weights.rows(); ++i) {
    if (weights.row(i).sum() > 0) weights.row(i) /= weights.row(i).maxCoeff();
  }
  return weights;
}

TEST(AdaptiveSpan, MasksByTheRampThatIsDrawnByHand) {
  // R = 2, z = 1: m = clamp((3 - x) / 2) is 1, 1, 1/2, 0 at distances 0, 1, 2, 3.
  const OptionTexts one_two = {{"span", "1"}, {"ramp", "2"}};
  Eigen::MatrixXd expected(5, 5);
  expected << 1, 0, 0, 0, 0,  //
      1, 1, 0, 0, 0,          //
      0.5, 1, 1, 0, 0,        //
      0, 0.5, 1, 1, 0,        //
      0, 0, 0.5, 1, 1;
  EXPECT_TRUE(
      soft_masks(*adaptive_span(square_problem(5, true), one_two)).isApprox(expected, 1e-14));
  // To both sides without a causal mask.
  expected << 1, 1, 0.5, 0, 0,  //
      1, 1, 1, 0.5, 0,          //
      0.5, 1, 1, 1, 0.5,        //
      0, 0.5, 1, 1, 1,          //
      0, 0, 0.5, 1, 1;
  EXPECT_TRUE(
      soft_masks(*adaptive_span(square_problem(5, false), one_two)).isApprox(expected, 1e-14));
}

TEST(AdaptiveSpan, LeavesTheTokenOutAsThePaperAndReachesOneFurtherAsItsCode) {
  // The published code at z = 0: distances 1 .. R weigh 1, (R-1)/R, .., 1/R.
  Eigen::MatrixXd expected(5, 5);
  expected << 0, 0, 0, 0, 0,  //
      1, 0, 0, 0, 0,          //
      0.5, 1, 0, 0, 0,        //
      0, 0.5, 1, 0, 0,        //
      0, 0, 0.5, 1, 0;
  const auto code =
      adaptive_span(square_problem(5, true),
                    {{"span", "0"}, {"ramp", "2"}, {"offset", "1"}, {"include_self", "false"}});
  EXPECT_TRUE(soft_masks(*code).isApprox(expected, 1e-14));
  // With a ramp of one token only the previous one is left.
  const auto previous =
      adaptive_span(square_problem(5, true),
                    {{"span", "0"}, {"ramp", "1"}, {"offset", "1"}, {"include_self", "false"}});
  Eigen::MatrixXd subdiagonal = Eigen::MatrixXd::Zero(5, 5);
  subdiagonal.diagonal(-1).setOnes();
  EXPECT_TRUE(soft_masks(*previous).isApprox(subdiagonal, 1e-14));
}

// The limit of the paper: without position terms a span of the whole past is full attention on the
// strict past, and its first row, which sees nothing, is zero.
TEST(AdaptiveSpan, OfTheWholeSequenceIsFullAttentionWithoutTheTokenItself) {
  const Index len = 97;
  Problem p = square_problem(len, true);
  p.num_heads = 2;
  ProblemTensors t(p);
  Context context(2);
  const auto plan = adaptive_span(p, {{"span", "96"}, {"include_self", "false"}});
  plan->forward(t.inputs(), t.outputs(), context);
  EXPECT_LE(output_ratio(*plan, *plan, t), 1);
  const Eigen::MatrixXd weights = all_weights(*plan, t.inputs(), 1);
  for (Index i = 0; i < len; ++i) {
    Eigen::VectorXd row = Eigen::VectorXd::Zero(len);
    for (Index j = 0; j < i; ++j) {
      double dot = 0;
      for (Index c = 0; c < 4; ++c) {
        dot += static_cast<double>(t.queries.view().float_row(0, 1, i)[c]) *
               static_cast<double>(t.keys.view().float_row(0, 0, j)[c]);
      }
      row(j) = std::exp(dot / 2);
    }
    if (i > 0) row /= row.sum();
    EXPECT_LE((weights.row(i).transpose() - row).cwiseAbs().maxCoeff(), 1e-14) << i;
  }
  EXPECT_EQ(t.output.floats()[0], 0.0f);
  EXPECT_EQ(t.logsumexp.floats()[0], -std::numeric_limits<float>::infinity());
  const Options all(kAdaptiveSpan.options, {{"span", "96"}});
  EXPECT_TRUE(kAdaptiveSpan.traits(p, all).exact);
  EXPECT_FALSE(kAdaptiveSpan.traits(p, all.with(kAdaptiveSpan.options, "span", "95.5")).exact);
}

TEST(AdaptiveSpan, GivesEveryHeadItsOwnSpanFromAListOrAFile) {
  Problem p = square_problem(150, false);
  p.batch = 2;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.query_len = 131;
  p.value_dim = 5;
  p.mask.key_lengths = {150, 70};
  p.mask.alibi_slopes = {0.1, 0, 0.5, 1};
  for (Index n = 0; n < 300; ++n) p.mask.document_ids.push_back(n / 40 % 3);
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/spans.npy";
  const std::vector<Index> shape = {4};
  write_npy(path, shape, std::vector<double>{0, 7.25, 200, 31});
  for (bool causal : {false, true}) {
    p.mask.causal = causal;
    ProblemTensors t(p);
    const auto listed = adaptive_span(p, {{"span", "[0, 7.25, 200, 31]"}, {"ramp", "9.5"}});
    Context context(2);
    listed->forward(t.inputs(), t.outputs(), context);
    EXPECT_LE(output_ratio(*listed, *listed, t), 1);
    const std::vector<float> output(t.output.floats(), t.output.floats() + t.output.size());
    adaptive_span(p, {{"span", path}, {"ramp", "9.5"}})->forward(t.inputs(), t.outputs(), context);
    EXPECT_TRUE(std::equal(output.begin(), output.end(), t.output.floats()));
  }
  const auto alike = [&](const char* spans) {
    return kAdaptiveSpan.traits(p, Options(kAdaptiveSpan.options, {{"span", spans}})).heads_alike;
  };
  EXPECT_FALSE(alike("[0, 7.25, 200, 31]"));
  EXPECT_TRUE(alike("[7, 7, 7, 7]"));
}

// z larger never captures less: the soft mask only grows with the span, the ramp and the offset.
TEST(AdaptiveSpan, GrowsWithSpanRampAndOffset) {
  const Problem p = square_problem(60, true);
  const auto masks = [&](const char* span, const char* ramp, const char* offset) {
    return soft_masks(*adaptive_span(p, {{"span", span}, {"ramp", ramp}, {"offset", offset}}));
  };
  const Eigen::MatrixXd base = masks("5", "8", "0");
  for (const Eigen::MatrixXd& larger :
       {masks("5.5", "8", "0"), masks("5", "13", "0"), masks("5", "8", "1")}) {
    EXPECT_GE((larger - base).minCoeff(), 0);
    EXPECT_GT((larger - base).maxCoeff(), 0);
  }
}

TEST(AdaptiveSpan, ScoresThePairsOfEachHeadsOwnSpan) {
  Problem p = square_problem(50, true);
  p.num_heads = 2;
  // Reaches: ceil(3 + 4) - 1 = 6 and ceil(7.5 + 4) - 1 = 11 tokens back.
  double expected = 0;
  for (Index t = 0; t < 50; ++t) {
    expected += static_cast<double>(std::min<Index>(t, 6) + std::min<Index>(t, 11) + 2);
  }
  const auto pairs = [&](const OptionTexts& more) {
    OptionTexts options = {{"span", "[3, 7.5]"}, {"ramp", "4"}};
    options.insert(options.end(), more.begin(), more.end());
    return adaptive_span(p, options)->cost(1).scored_pairs;
  };
  EXPECT_EQ(pairs({}), expected);
  EXPECT_EQ(pairs({{"include_self", "false"}}), expected - 100);
}

// What lies beyond span + ramp is not read: with few queries and short spans neither time nor
// memory may depend on the length.
TEST(AdaptiveSpan, NeedsNoMoreMemoryForALongerSequence) {
  Problem p = square_problem(1 << 16, true);
  p.query_len = 100;
  const auto bytes = [&] { return adaptive_span(p, {{"span", "64"}})->cost(1).workspace_bytes; };
  const double before = bytes();
  p.key_len = 1 << 20;
  EXPECT_EQ(bytes(), before);
}

// Multiply-adds a token of a whole model: layers * (4 d^2 + 2 S d + 2 d d_ff), S the mean span. The
// attention term is what one more token at the end costs here.
double model_macs(Index layers, Index heads, Index head_dim, Index feed_forward,
                  const std::vector<Index>& spans) {
  Problem p;
  p.num_heads = p.num_kv_heads = heads;
  p.head_dim = p.value_dim = head_dim;
  p.mask.causal = true;
  std::string list = "[";
  for (Index h = 0; h < heads; ++h) {
    list += (h > 0 ? ", " : "") + std::to_string(spans[static_cast<size_t>(h) % spans.size()]);
  }
  const auto flops = [&](Index len) {
    p.query_len = p.key_len = len;
    return adaptive_span(p, {{"span", list + "]"}, {"ramp", "1"}, {"include_self", "false"}})
        ->cost(1)
        .flops;
  };
  const double attention = (flops(9001) - flops(9000)) / 2;
  const auto d = static_cast<double>(heads * head_dim);
  return static_cast<double>(layers) *
         (4 * d * d + attention + 2 * d * static_cast<double>(feed_forward));
}

TEST(AdaptiveSpan, CostsTheMultiplyAddsOfThePapersTables) {
  constexpr double kMillion = 1e6, kHalf = 0.5e6;
  // Tables 1 and 2: adaptive spans of S = 8192, mean 314 (12 layers of width 512; 42M) ...
  const double adaptive = model_macs(12, 8, 64, 2048, {60, 568, 100, 528, 200, 428, 14, 614});
  EXPECT_NEAR(adaptive, 42 * kMillion, kHalf);
  // ... and 245 (24 layers; 179M with the inner width 3072 of the other large models).
  EXPECT_NEAR(model_macs(24, 8, 96, 3072, {245}), 179 * kMillion, kHalf);
  // Transformer-XL, fixed spans.
  EXPECT_NEAR(model_macs(24, 8, 128, 3072, {3800}), 438 * kMillion, kHalf);
  EXPECT_NEAR(model_macs(18, 8, 128, 3072, {3800}), 329 * kMillion, kHalf);
  EXPECT_NEAR(model_macs(12, 8, 64, 2048, {2100}), 64 * kMillion, kHalf);
  // "up to 70 %" fewer than with a fixed span of 8192.
  EXPECT_NEAR(1 - adaptive / model_macs(12, 8, 64, 2048, {8192}), 0.70, 0.005);
}

TEST(AdaptiveSpan, RefusesSpansThatFitNoHead) {
  const auto reason = [](const char* spans) {
    Problem p = square_problem(5, true);
    p.num_heads = p.num_kv_heads = 4;
    return kAdaptiveSpan.unsupported(p, Options(kAdaptiveSpan.options, {{"span", spans}}));
  };
  EXPECT_EQ(reason("[1, 2, 3]"), "span has 3 numbers, expected 1 or one a head, num_heads is 4");
  EXPECT_EQ(reason("[1, 2, 3, 4]"), "");
  EXPECT_THROW(Options(kAdaptiveSpan.options, {{"span", "-1"}}), OptionError);
}

// A file is not a Problem that is not taken: what is wrong with it is an error.
TEST(AdaptiveSpan, NamesTheOptionAndTheFileOfSpansThatCannotBeRead) {
  const TemporaryFolder folder;
  const auto error = [](const std::string& path) -> std::string {
    try {
      const Options options(kAdaptiveSpan.options, {{"span", path}});
      return "refused: " + kAdaptiveSpan.unsupported(square_problem(5, true), options);
    } catch (const DataError& thrown) {
      return thrown.what();
    }
  };
  EXPECT_EQ(error("/nowhere/spans.npy"),
            "option 'span' is '/nowhere/spans.npy', expected numbers or a .npy file of them: "
            "/nowhere/spans.npy: cannot open: No such file or directory");
  const std::string text = folder.file("text.npy", "twelve");
  EXPECT_EQ(error(text).find("option 'span' is '" + text + "', expected"), 0u) << error(text);
  const std::string path = folder.path() + "/spans.npy";
  for (const double wrong : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    write_npy(path, std::vector<Index>{2}, std::vector<double>{3, wrong});
    EXPECT_EQ(error(path), "option 'span': " + path + ": number 1 is " + fmt::format("{}", wrong) +
                               ", expected a number >= 0");
  }
}

}  // namespace
}  // namespace longattn
