#include "variants/random_keys.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/variants/variant_testing.h"

namespace longattn {
namespace {

std::unique_ptr<const Attention> random_keys(const Problem& p, Index k, Index seed = 0) {
  return make_attention(
      kRandomKeys, p,
      Options(kRandomKeys.options, {{"k", std::to_string(k)}, {"seed", std::to_string(seed)}}));
}

using Chosen = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>;
Chosen chosen(const Attention& attention, const Inputs& inputs, Index head = 0) {
  return all_weights(attention, inputs, head).array() != 0;
}

TEST(RandomKeys, OfOneKeyAreOneVisibleValueEach) {
  // A causal row of the first tokens has little choice: by hand, row 0 takes key 0, and k = 3
  // leaves out none of the first three rows' keys.
  const Problem p = square_problem(5, true);
  ProblemTensors t(p);
  const Chosen three = chosen(*random_keys(p, 3), t.inputs());
  for (Index i = 0; i < 5; ++i) {
    EXPECT_EQ(three.row(i).count(), std::min<Index>(i + 1, 3));
    for (Index j = i + 1; j < 5; ++j) EXPECT_FALSE(three(i, j));
  }
  Context context(1);
  random_keys(p, 1)->forward(t.inputs(), t.outputs(), context);
  const Chosen one = chosen(*random_keys(p, 1), t.inputs());
  for (Index i = 0; i < 5; ++i) {
    ASSERT_EQ(one.row(i).count(), 1);
    for (Index j = 0; j < 5; ++j) {
      if (!one(i, j)) continue;
      EXPECT_EQ(t.output.view().float_row(0, 0, i)[2], t.values.view().float_row(0, 0, j)[2]);
    }
  }
}

TEST(RandomKeys, AreNestedAndKeyedBySeedHeadAndRowAlone) {
  Problem p = square_problem(61, true);
  p.num_heads = 2;
  const ProblemTensors t(p);
  const Chosen five = chosen(*random_keys(p, 5), t.inputs());
  EXPECT_TRUE((!five || chosen(*random_keys(p, 11), t.inputs())).all());
  EXPECT_FALSE((five == chosen(*random_keys(p, 5, 1), t.inputs())).all());
  EXPECT_FALSE((five == chosen(*random_keys(p, 5), t.inputs(), 1)).all());
  // Neither the length nor what else is asked changes a draw: the last token alone, and a prefix.
  Problem last = p;
  last.query_len = 1;
  EXPECT_TRUE((chosen(*random_keys(last, 5), t.inputs()) == five.row(60)).all());
  Problem prefix = p;
  prefix.query_len = prefix.key_len = 40;
  EXPECT_TRUE((chosen(*random_keys(prefix, 5), t.inputs()) == five.topLeftCorner(40, 40)).all());
}

// "The same budget for every key": each of n keys is drawn with probability k / n. Over 4,000 rows
// the count of one key has standard deviation sqrt(4000 p (1 - p)) = 28; five of them is never
// seen.
TEST(RandomKeys, DrawEveryVisibleKeyAlikeOften) {
  Problem p = square_problem(16, false);
  p.query_len = 4000;
  const ProblemTensors t(p);
  const Chosen drawn = chosen(*random_keys(p, 4), t.inputs());
  const double share = 4.0 / 16, deviation = std::sqrt(4000 * share * (1 - share));
  for (Index j = 0; j < 16; ++j) {
    EXPECT_NEAR(static_cast<double>(drawn.col(j).count()), 4000 * share, 5 * deviation) << j;
  }
  // And pairs of keys are independent up to drawing without replacement.
  const double both = share * 3.0 / 15;
  const auto pairs = static_cast<double>((drawn.col(3) && drawn.col(4)).count());
  EXPECT_NEAR(pairs, 4000 * both, 5 * std::sqrt(4000 * both * (1 - both)));
}

TEST(RandomKeys, ScoreNoMoreThanTheBudgetAndAllOfAFewKeys) {
  Problem p = square_problem(50, true);
  p.batch = 2;
  p.mask.key_lengths = {50, 8};
  const auto pairs = [&](Index k) { return random_keys(p, k)->cost(1).scored_pairs; };
  EXPECT_EQ(pairs(10), (55 + 40 * 10) + (36 + 42 * 8));
  EXPECT_EQ(pairs(1000), (50 * 51 / 2) + (36 + 42 * 8));
  // Documents: two of 25 tokens; 1 + 2 + 3 + 22 * 3 each.
  p.batch = 1;
  p.mask.key_lengths.clear();
  p.mask.document_ids.assign(50, 4);
  std::fill_n(p.mask.document_ids.begin(), 25, 9);
  EXPECT_EQ(pairs(3), 2 * (1 + 2 + 23 * 3));
}

}  // namespace
}  // namespace longattn
