// Blockwise attention: full attention written out, whatever the blocks; its softmax at the ends of
// its range; parts merged by their logsumexps.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/variants/written_out.h"
#include "variants/blockwise.h"
#include "variants/full.h"

namespace longattn {
namespace {

TEST(BlockwiseFormula, IsFullAttentionForBlocksOfAnySize) {
  Dice dice(1);
  const auto size = [&] {
    return dice.one_in(5) ? "auto" : text_of(dice.of<Index>({1, 2, 7, 31, 32, 33, 64, 97, 4096}));
  };
  for (int n = 0; n < 400; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(8) ? 331 : 97);
    expect_full_attention(kBlockwise, p, {{"query_block", size()}, {"key_block", size()}}, dice);
    if (HasFatalFailure()) return;
  }
}

TEST(BlockwiseFormula, TheBaselineFullIsToo) {
  Dice dice(2);
  for (int n = 0; n < 150; ++n) {
    const Problem p = drawn_problem(dice, 97);
    const auto rows = [&](const DrawnTensors& t, Index b, Index h) {
      return softmax_rows(p, t, b, h, [](Index, Index) { return 1; });
    };
    expect_as_written_out({&kFull, p, {}, rows}, dice);
    if (HasFatalFailure()) return;
  }
}

// Scores far beyond what exp can hold (88 in float32), rising and falling from block to block, so
// that the running maximum is replaced often and by much. One component, scale 1, queries +-1.
TEST(BlockwiseFormula, ScoresOfManyThousandsNeitherOverflowNorVanish) {
  Problem p = problem_of(131, 1);
  p.query_len = 2;
  p.scale = 1;
  for (const double height : {100.0, 3e4, 1e6, 1e30}) {
    ProblemTensors t(p);
    t.queries.floats()[0] = 1;
    t.queries.floats()[1] = -1;
    for (Index j = 0; j < p.key_len; ++j) {
      t.keys.floats()[j] = static_cast<float>(height * static_cast<double>((j * 37) % 131) / 131);
    }
    for (const char* block : {"1", "32", "4096"}) {
      const auto attention =
          make_with(kBlockwise, p, {{"query_block", block}, {"key_block", block}});
      Context context(1);
      attention->forward(t.inputs(), t.outputs(), context);
      // (j * 37) mod 131 is 130 at j = 46 (46 * 37 = 13 * 131 - 1) and 0 at j = 0; the next are
      // height / 131 away, at least 0.76.
      if (height < 1e4) continue;
      EXPECT_EQ(t.output.floats()[0], t.values.floats()[46]) << height;
      EXPECT_EQ(t.output.floats()[1], t.values.floats()[0]) << height;
      const double top = static_cast<double>(t.keys.floats()[46]);
      EXPECT_NEAR(t.logsumexp.floats()[0], top, std::ldexp(4, -24) * top);
      EXPECT_EQ(t.logsumexp.floats()[1], 0);
    }
    if (height > 1e4) continue;
    const auto attention = make_with(kBlockwise, p, {{"key_block", "32"}});
    EXPECT_LE(forward_ratio(*attention, *make_with(kFull, p, {}), t), 1);
  }
}

// Keys 0, 1, 2 and scale ln 2: exp of the scores is 1, 2, 4, so weights are 1/7, 2/7, 4/7 and
// logsumexp is ln 7; values 7, 14, -7 give 1 + 4 - 4.
TEST(BlockwiseFormula, ThreeKeysByHand) {
  Problem p = problem_of(3, 1);
  p.scale = std::log(2.0);
  p.query_len = 1;
  ProblemTensors t(p);
  t.queries.floats()[0] = 1;
  std::ranges::copy(std::array{0.0F, 1.0F, 2.0F}, t.keys.floats());
  std::ranges::copy(std::array{7.0F, 14.0F, -7.0F}, t.values.floats());
  const auto attention = make_with(kBlockwise, p, {{"key_block", "1"}});
  const Rows rows = all_rows(*attention, t.inputs());
  EXPECT_NEAR(rows.weights(0, 0), 1 / 7., 1e-15);
  EXPECT_NEAR(rows.weights(0, 1), 2 / 7., 1e-15);
  EXPECT_NEAR(rows.weights(0, 2), 4 / 7., 1e-15);
  EXPECT_NEAR(rows.logsumexp[0], std::log(7.0), 1e-14);
  Context context(1);
  attention->forward(t.inputs(), t.outputs(), context);
  EXPECT_NEAR(t.output.floats()[0], 1 + 4 - 4, 1e-6);
}

// Rabe & Staats: parts of the keys, each with its logsumexp, merge to the whole: w_a =
// sigmoid(lse_a - lse_b).
TEST(BlockwiseFormula, TwoPartsOfTheKeysMergeByTheirLogsumexps) {
  Dice dice(3);
  for (int n = 0; n < 30; ++n) {
    Problem whole = problem_of(dice.between(2, 97), 8);
    whole.value_dim = 3;
    const Index cut = dice.between(1, whole.key_len - 1);
    whole.query_len = 5;
    Context context(1);
    ProblemTensors t(whole, 9, 3);
    make_with(kBlockwise, whole, {})->forward(t.inputs(), t.outputs(), context);
    Problem part[2] = {whole, whole};
    part[0].key_len = cut;
    part[1].key_len = whole.key_len - cut;
    Tensor output[2], sums[2];
    for (size_t k = 0; k < 2; ++k) {
      Inputs inputs = t.inputs();
      for (ConstTensorView* view : {&inputs.keys, &inputs.values}) {
        if (k == 1) view->data = view->row(0, 0, cut);
        view->shape[2] = part[k].key_len;
      }
      output[k] = Tensor(t.output.shape());
      sums[k] = Tensor(t.logsumexp.shape());
      make_with(kBlockwise, part[k], {})
          ->forward(inputs, {output[k].mutable_view(), sums[k].mutable_view()}, context);
    }
    for (Index i = 0; i < whole.query_len; ++i) {
      const double a = sums[0].floats()[i], b = sums[1].floats()[i], w = 1 / (1 + std::exp(b - a));
      EXPECT_NEAR(t.logsumexp.floats()[i], std::max(a, b) + std::log1p(std::exp(-std::abs(a - b))),
                  1e-5 * (1 + std::abs(a)));
      for (Index c = 0; c < 3; ++c) {
        EXPECT_NEAR(t.output.floats()[i * 3 + c],
                    w * static_cast<double>(output[0].floats()[i * 3 + c]) +
                        (1 - w) * static_cast<double>(output[1].floats()[i * 3 + c]),
                    1e-4);
      }
    }
  }
}

}  // namespace
}  // namespace longattn
