#include "variants/block_permutation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "tests/variants/variant_testing.h"
#include "variants/full.h"

namespace longattn {
namespace {

using Picture = std::vector<std::string>;

TEST(BlockPermutation, WeighsTheBlockThatEachHeadsShiftShows) {
  Problem p = square_problem(5);
  p.num_heads = 3;
  const auto two = make_with(kBlockPermutation, p, {{"num_blocks", "2"}});  // 0 1 2 and 3 4
  EXPECT_EQ(picture(*two, 0), (Picture{"11100", "11100", "11100", "00011", "00011"}));
  EXPECT_EQ(picture(*two, 1), (Picture{"00011", "00011", "00011", "11100", "11100"}));
  EXPECT_EQ(picture(*two, 2), picture(*two, 0));
  // (1,2,3), (2,3,1), (3,1,2) of the paper, on blocks of 2, 2 and 1.
  const auto three = make_with(kBlockPermutation, p, {{"num_blocks", "3"}});
  EXPECT_EQ(picture(*three, 0), (Picture{"11000", "11000", "00110", "00110", "00001"}));
  EXPECT_EQ(picture(*three, 1), (Picture{"00110", "00110", "00001", "00001", "11000"}));
  EXPECT_EQ(picture(*three, 2), (Picture{"00001", "00001", "11000", "11000", "00110"}));
}

TEST(BlockPermutation, TakesTheShiftsThatAreListedAndRepeatsThem) {
  Problem p = square_problem(6);
  p.num_heads = 4;
  const auto plan = make_with(kBlockPermutation, p, {{"num_blocks", "3"}, {"shifts", "[0, 5]"}});
  EXPECT_EQ(picture(*plan, 2), picture(*plan, 0));
  EXPECT_EQ(picture(*plan, 3), picture(*plan, 1));
  EXPECT_EQ(picture(*plan, 1)[0], "000011");  // 5 mod 3 = 2
  EXPECT_FALSE(traits_with(kBlockPermutation, p, {{"shifts", "[0, 1]"}}).heads_alike);
  EXPECT_TRUE(traits_with(kBlockPermutation, p, {{"shifts", "[1, 3]"}}).heads_alike);
}

TEST(BlockPermutation, LeavesRowsThatWouldLookAheadAtZero) {
  Problem p = square_problem(5, true);
  p.num_heads = 2;
  const auto plan = make_with(kBlockPermutation, p, {});
  EXPECT_EQ(picture(*plan, 1), (Picture{"00000", "00000", "00000", "11100", "11100"}));
  ProblemTensors t(p);
  Context context(1);
  plan->forward(t.inputs(), t.outputs(), context);
  for (Index i = 0; i < 3; ++i) {
    EXPECT_EQ(t.output.view().float_row(0, 1, i)[0], 0);
    EXPECT_EQ(*t.logsumexp.view().float_row(0, 1, i), -std::numeric_limits<float>::infinity());
  }
}

// What the paper saves: a head scores N^2 / n pairs.
TEST(BlockPermutation, ScoresAnNthOfThePairsOfFullAttention) {
  for (Index n : {1, 2, 3, 8}) {
    const auto plan =
        make_with(kBlockPermutation, square_problem(480), {{"num_blocks", std::to_string(n)}});
    EXPECT_EQ(plan->cost(1).scored_pairs, 480.0 * 480.0 / static_cast<double>(n));
  }
  for (bool causal : {false, true}) {
    for (Index n : {1, 2, 5, 60}) {
      Problem p = square_problem(53, causal);
      p.num_heads = 2;
      p.query_len = 31;
      const auto plan = make_with(kBlockPermutation, p, {{"num_blocks", std::to_string(n)}});
      EXPECT_EQ(plan->cost(1).scored_pairs, counted_pairs(*plan));
    }
  }
}

TEST(BlockPermutation, OfOneBlockEqualsFullAttention) {
  for (Index len : {1, 2, 131}) {
    const Problem p = square_problem(len);
    EXPECT_TRUE(traits_with(kBlockPermutation, p, {{"num_blocks", "1"}}).exact);
    expect_forward_equals(*make_with(kBlockPermutation, p, {{"num_blocks", "1"}}),
                          *make_with(kFull, p, {}));
  }
}

// All shifts of the same queries and keys, merged by their logsumexps, see every pair once.
TEST(BlockPermutation, MergedOverAllShiftsEqualsFullAttention) {
  for (Index n : {2, 3, 7}) {
    for (bool causal : {false, true}) {
      Problem p = square_problem(97, causal);
      p.num_heads = n;  // all heads get the same queries
      ProblemTensors t(p);
      for (Index h = 1; h < n; ++h) {
        std::copy_n(t.queries.floats(), 97 * 4, t.queries.floats() + h * 97 * 4);
      }
      Context context(1);
      make_with(kBlockPermutation, p, {{"num_blocks", std::to_string(n)}})
          ->forward(t.inputs(), t.outputs(), context);
      ProblemTensors full(p);
      make_with(kFull, p, {})->forward(t.inputs(), full.outputs(), context);
      for (Index i = 0; i < p.query_len; ++i) {
        const double whole = *full.logsumexp.view().float_row(0, 0, i);
        double total = 0, merged = 0;
        for (Index h = 0; h < n; ++h) {
          const double share = std::exp(*t.logsumexp.view().float_row(0, h, i) - whole);
          total += share;
          merged += share * t.output.view().float_row(0, h, i)[2];
        }
        EXPECT_NEAR(total, 1, 1e-5);
        EXPECT_NEAR(merged, full.output.view().float_row(0, 0, i)[2], 1e-5);
      }
    }
  }
}

TEST(BlockPermutation, RefusesShiftsThatDoNotFitTheHeads) {
  Problem p = square_problem(10);
  p.num_heads = 12;
  try {
    make_with(kBlockPermutation, p, {{"shifts", "[0, 0, 0, 0, 1]"}});
    FAIL();
  } catch (const UnsupportedError& error) {
    EXPECT_STREQ(
        error.what(),
        "block_permutation: shifts has 5 entries, which num_heads 12 is not a multiple of");
  }
  EXPECT_THROW(make_with(kBlockPermutation, p, {{"shifts", "[]"}}), UnsupportedError);
}

TEST(BlockPermutation, KeepsTheLawsWithManyBlocks) {
  expect_conformance(kBlockPermutation, {{"num_blocks", "7"}});
  expect_conformance(kBlockPermutation, {{"num_blocks", "3"}, {"shifts", "[1]"}});
}

}  // namespace
}  // namespace longattn
