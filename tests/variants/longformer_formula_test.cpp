// Longformer beside its pattern (named_patterns_test.cpp): cases by hand, its limits with
// projections of their own for global tokens, closed forms of its cost.
#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "tests/variants/brute_force.h"
#include "variants/longformer.h"

namespace longattn {
namespace {

OptionTexts window(Index w, Index delta = 1, const std::vector<Index>& global = {}) {
  return {{"window", text_of(w)}, {"dilation", text_of(delta)}, {"global_tokens", text_of(global)}};
}

// Five tokens, one on each side at distance 2 (w = 1, delta = 2): t sees t - 2, t, t + 2. Token 1
// is global: everybody sees it, and it sees everybody.
TEST(LongformerFormula, DilatedWindowAndOneGlobalTokenByHand) {
  EXPECT_EQ(picture(*make_with(kLongformer, square_problem(5), window(1, 2))),
            (std::vector<std::string>{"10100",  //
                                      "01010",  //
                                      "10101",  //
                                      "01010",  //
                                      "00101"}));
  EXPECT_EQ(picture(*make_with(kLongformer, square_problem(5), window(1, 2, {1}))),
            (std::vector<std::string>{"11100",  //
                                      "11111",  //
                                      "11101",  //
                                      "01010",  //
                                      "01101"}));
  // A causal mask leaves the lower half: the global token does not see what follows it.
  EXPECT_EQ(picture(*make_with(kLongformer, square_problem(5, true), window(1, 2, {1}))),
            (std::vector<std::string>{"10000",  //
                                      "11000",  //
                                      "11100",  //
                                      "01010",  //
                                      "01101"}));
}

// Two tokens, the second global with projections of its own, one component, scale 1. Its own
// queries and keys: 1 and (0, 2); so its row scores (0, 2). The first token scores keys (0, 1) with
// its query 1, both by the ordinary projections.
TEST(LongformerFormula, GlobalRowReadsItsOwnProjectionsByHand) {
  Problem p = problem_of(2, 1);
  p.scale = 1;
  DrawnTensors t(p, true);
  const double ordinary_q[] = {1, 5}, keys[] = {0, 1}, values[] = {10, 20}, own_q[] = {7, 1},
               own_keys[] = {0, 2}, own_values[] = {100, 200};
  for (Index j = 0; j < 2; ++j) {
    size_t n = 0;
    for (const double* numbers : {ordinary_q, keys, values, own_q, own_keys, own_values}) {
      t.tensors[n++].set(0, 0, j, {numbers[j]});
    }
  }
  const auto attention = make_with(kLongformer, p, window(0, 1, {1}));
  const Rows rows = all_rows(*attention, t.inputs());
  const double e1 = std::exp(1.0), e2 = std::exp(2.0);
  Eigen::MatrixXd expected(2, 2);
  expected << 1 / (1 + e1), e1 / (1 + e1),  //
      1 / (1 + e2), e2 / (1 + e2);
  EXPECT_LT((rows.weights - expected).cwiseAbs().maxCoeff(), 1e-15);
  EXPECT_EQ(rows.value_source, (std::vector<int>{0, 3}));
  Tensor output({1, 1, 2, 1});
  Context context(1);
  attention->forward(t.inputs(), {output.mutable_view(), {}}, context);
  EXPECT_NEAR(output.floats()[0], (10 + 20 * e1) / (1 + e1), 1e-5);
  EXPECT_NEAR(output.floats()[1], (100 + 200 * e2) / (1 + e2), 1e-4);
}

std::vector<Index> every_token(Index len) {
  std::vector<Index> all;
  for (Index t = 0; t < len; ++t) all.push_back(t);
  return all;
}

void expect_everything(const Problem& p, const OptionTexts& options, bool own, Dice& dice) {
  PatternCase c{&kLongformer, p, options, [](Index, Index, Index) { return true; }};
  if (own) {
    for (Index t = 0; t < p.key_len; ++t) c.own_projections.insert(t);
  }
  expect_as_written_out(c, dice);
}

// All tokens global: full attention, with the global projections if they are separate. A window
// over the sequence with any global tokens, projections tied: full attention.
TEST(LongformerFormula, IsFullAttentionInItsLimits) {
  Dice dice(1);
  for (int n = 0; n < 60; ++n) {
    const Problem p = drawn_problem(dice, 61);
    const Index longest = std::max(p.key_len, p.query_len);
    std::set<Index> some;
    for (Index k = dice.below(4); k > 0 && p.key_len > 0; --k) some.insert(dice.below(p.key_len));
    expect_everything(p, window(longest, 1, {some.begin(), some.end()}), false, dice);
    if (HasFatalFailure() || p.key_len == 0 || p.query_len > p.key_len) continue;
    expect_everything(p, window(dice.below(3), dice.between(1, 3), every_token(p.key_len)), false,
                      dice);
    expect_everything(p, window(dice.below(3), dice.between(1, 3), every_token(p.key_len)), true,
                      dice);
    if (HasFatalFailure()) return;
  }
}

// Own projections that are copies of the ordinary ones, as they are initialised in the paper, give
// the tied form.
TEST(LongformerFormula, CopiedGlobalProjectionsAreTheTiedForm) {
  Dice dice(2);
  for (int n = 0; n < 60; ++n) {
    const Problem p = drawn_problem(dice, 61);
    if (p.key_len == 0) continue;
    const auto attention = make_with(
        kLongformer, p, window(dice.below(6), dice.between(1, 3), {dice.below(p.key_len)}));
    const DrawnTensors t(p);
    std::vector<NamedTensor> copies = {{"global_queries", t.tensors[0].view},
                                       {"global_keys", t.tensors[1].view},
                                       {"global_values", t.tensors[2].view}};
    Inputs own = t.inputs();
    own.extra = copies;
    for (Index h = 0; h < p.num_heads; ++h) {
      const Rows tied = all_rows(*attention, t.inputs(), h), copied = all_rows(*attention, own, h);
      ASSERT_EQ(tied.weights, copied.weights);
      ASSERT_EQ(tied.logsumexp, copied.logsumexp);
    }
    Tensor first({p.batch, p.num_heads, p.query_len, p.value_dim}), second(first.shape());
    Context context(1);
    attention->forward(t.inputs(), {first.mutable_view(), {}}, context);
    attention->forward(own, {second.mutable_view(), {}}, context);
    for (Index i = 0; i < first.size(); ++i) {
      ASSERT_NEAR(first.floats()[i], second.floats()[i], 1e-5 * (1 + std::abs(first.floats()[i])));
    }
  }
}

// "N + 2 sum_{t=1..w} max(0, N - t delta) for the window (causal: once)".
TEST(LongformerFormula, PairsOfTheWindowAreTheClosedForm) {
  for (const Index n : {1, 2, 7, 64, 131}) {
    for (const Index w : {0, 1, 3, 20, 200}) {
      for (const Index delta : {1, 2, 5, 70}) {
        double once = 0;
        for (Index t = 1; t <= w; ++t)
          once += static_cast<double>(std::max<Index>(0, n - t * delta));
        const auto pairs = [&](bool causal) {
          return make_with(kLongformer, square_problem(n, causal), window(w, delta))
              ->cost(1)
              .scored_pairs;
        };
        EXPECT_EQ(pairs(false), static_cast<double>(n) + 2 * once);
        EXPECT_EQ(pairs(true), static_cast<double>(n) + once);
      }
    }
  }
}

TEST(LongformerFormula, GlobalTokensThatDoNotExistAreRefusedAndTwiceIsOnce) {
  const Problem p = square_problem(5);
  EXPECT_THROW(make_with(kLongformer, p, window(1, 1, {5})), Error);
  EXPECT_THROW(make_with(kLongformer, p, window(1, 1, {-1})), OptionError);
  EXPECT_EQ(picture(*make_with(kLongformer, p, window(1, 1, {3, 3}))),
            picture(*make_with(kLongformer, p, window(1, 1, {3}))));
  const DrawnTensors t(p, true);
  Inputs two = t.inputs();
  two.extra = two.extra.first(2);
  EXPECT_THROW(all_rows(*make_with(kLongformer, p, window(1, 1, {3})), two), ShapeError);
}

}  // namespace
}  // namespace longattn
