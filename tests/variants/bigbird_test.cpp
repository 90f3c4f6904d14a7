#include "variants/bigbird.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "tests/variants/variant_testing.h"
#include "variants/full.h"

namespace longattn {
namespace {

using Picture = std::vector<std::string>;

OptionTexts options(Index block, Index window, Index globals, Index randoms, Index seed = 0) {
  return {{"block_size", std::to_string(block)},
          {"window_blocks", std::to_string(window)},
          {"global_blocks", std::to_string(globals)},
          {"random_blocks", std::to_string(randoms)},
          {"seed", std::to_string(seed)}};
}

TEST(Bigbird, WeighsTheKeysThatHandDrawnBlocksShow) {
  EXPECT_EQ(picture(*make_with(kBigbird, square_problem(5), options(1, 3, 0, 0))),
            (Picture{"11000", "11100", "01110", "00111", "00011"}));
  EXPECT_EQ(picture(*make_with(kBigbird, square_problem(5), options(1, 1, 1, 0))),
            (Picture{"11111", "11000", "10100", "10010", "10001"}));
  EXPECT_EQ(picture(*make_with(kBigbird, square_problem(5), options(1, 1, 2, 0))),
            (Picture{"11111", "11001", "10101", "10011", "11111"}));
  EXPECT_EQ(picture(*make_with(kBigbird, square_problem(5), options(2, 1, 1, 0))),
            (Picture{"11111", "11111", "11110", "11110", "11001"}));
  EXPECT_EQ(picture(*make_with(kBigbird, square_problem(5, true), options(2, 1, 1, 0))),
            (Picture{"10000", "11000", "11100", "11110", "11001"}));
}

// The only blocks that five blocks without random ones leave out are (1, 3) and (3, 1); with four,
// nothing is left out.
TEST(Bigbird, InItsPublishedFormIsFullAttentionOnFourBlocksAndNotOnFive) {
  EXPECT_EQ(picture(*make_with(kBigbird, square_problem(5), options(1, 3, 2, 0))),
            (Picture{"11111", "11101", "11111", "10111", "11111"}));
  for (Index len : {1, 31, 64, 65, 250, 256}) {
    const Problem p = square_problem(len);
    EXPECT_TRUE(traits_with(kBigbird, p, options(64, 3, 2, 0)).exact);
    expect_forward_equals(*make_with(kBigbird, p, options(64, 3, 2, 0)), *make_with(kFull, p, {}));
  }
  EXPECT_FALSE(traits_with(kBigbird, square_problem(257), options(64, 3, 2, 0)).exact);
}

TEST(Bigbird, WithAWindowGlobalsOrRandomBlocksOverAllBlocksEqualsFullAttention) {
  for (bool causal : {false, true}) {
    const Problem p = square_problem(131, causal);  // 14 blocks of 10
    for (const OptionTexts& all :
         {options(10, 27, 0, 0), options(10, 1, 14, 0), options(10, 1, 0, 13)}) {
      EXPECT_TRUE(traits_with(kBigbird, p, all).exact);
      expect_forward_equals(*make_with(kBigbird, p, all), *make_with(kFull, p, {}));
    }
    EXPECT_FALSE(traits_with(kBigbird, p, options(10, 25, 0, 0)).exact);
    EXPECT_FALSE(traits_with(kBigbird, p, options(10, 1, 12, 0)).exact);
    EXPECT_FALSE(traits_with(kBigbird, p, options(10, 1, 0, 12)).exact);
  }
}

// (7 + r) b N - (12 + 2 r) b^2, of which Table 8's base model (b 64, r 3, N 4,096) is one case:
// linear in the length.
TEST(Bigbird, ScoresAsManyPairsAsThePublishedFormDoes) {
  const auto formula = [](Index blocks, Index b, Index r) {
    return static_cast<double>((7 + r) * b * blocks * b - (12 + 2 * r) * b * b);
  };
  for (Index r : {0, 1, 3}) {
    for (Index blocks : {8, 64, 100}) {
      for (Index b : {1, 16, 64}) {
        const auto plan = make_with(kBigbird, square_problem(blocks * b), options(b, 3, 2, r));
        EXPECT_EQ(plan->cost(1).scored_pairs, formula(blocks, b, r));
      }
    }
  }
  EXPECT_EQ(make_with(kBigbird, square_problem(4096), {})->cost(1).scored_pairs, 2'547'712);
}

TEST(Bigbird, CountsThePairsThatItsDefinitionWeighs) {
  for (bool causal : {false, true}) {
    for (Index query_len : {20, 53, 80}) {
      Problem p = square_problem(53, causal);
      p.num_heads = 2;
      p.query_len = query_len;
      for (Index block : {1, 4, 7, 53}) {
        const auto plan = make_with(kBigbird, p, options(block, 3, 2, 2));
        EXPECT_EQ(plan->cost(1).scored_pairs, counted_pairs(*plan));
      }
      p.mask.key_lengths = {40};
      const auto plan = make_with(kBigbird, p, options(4, 3, 2, 2));
      EXPECT_EQ(plan->cost(1).scored_pairs, counted_pairs(*plan));
    }
  }
}

// Block columns of the random blocks of each row, for one head.
std::vector<std::set<Index>> drawn(Index blocks, Index randoms, Index seed, Index head = 0) {
  Problem p = square_problem(blocks);
  p.num_heads = 2;
  const Picture all = picture(*make_with(kBigbird, p, options(1, 1, 0, randoms, seed)), head);
  std::vector<std::set<Index>> rows;
  for (Index i = 0; i < blocks; ++i) {
    rows.emplace_back();
    for (Index j = 0; j < blocks; ++j) {
      if (j != i && all[static_cast<size_t>(i)][static_cast<size_t>(j)] == '1') {
        rows.back().insert(j);
      }
    }
  }
  return rows;
}

TEST(Bigbird, DrawsBlocksOfItsOwnForEverySeedHeadAndRow) {
  const auto rows = drawn(40, 3, 7);
  for (const auto& row : rows) EXPECT_EQ(row.size(), 3U);
  EXPECT_EQ(drawn(40, 3, 7), rows);
  EXPECT_NE(drawn(40, 3, 8), rows);
  EXPECT_NE(drawn(40, 3, 7, 1), rows);
  EXPECT_EQ(std::set(rows.begin(), rows.end()).size(), rows.size());
}

TEST(Bigbird, DrawsMoreBlocksByAddingToFewer) {
  const auto few = drawn(40, 3, 7), more = drawn(40, 4, 7);
  for (size_t row = 0; row < few.size(); ++row) {
    EXPECT_TRUE(std::ranges::includes(more[row], few[row])) << row;
  }
}

// The published sampler reaches only the first blocks at some lengths. 40 rows x 3 draws, uniform
// on 0..39: the mean has standard deviation 11.5 / sqrt(120) = 1.05.
TEST(Bigbird, DrawsBlocksFromTheWholeSequence) {
  double sum = 0;
  std::set<Index> seen;
  for (const auto& row : drawn(40, 3, 7)) {
    for (Index block : row) {
      sum += static_cast<double>(block);
      seen.insert(block);
    }
  }
  EXPECT_NEAR(sum / 120, 19.5, 5);
  EXPECT_GE(seen.size(), 30U);  // 1.9 of 40 are expected to be missed
}

// The published fast path weighs a key twice where a random block meets another.
TEST(Bigbird, OfEqualScoresIsTheMeanOfTheKeysEachCountedOnce) {
  const Problem p = square_problem(40);
  ProblemTensors t(p);
  std::fill_n(t.queries.floats(), t.queries.size(), 0.0f);
  const auto plan = make_with(kBigbird, p, options(4, 3, 2, 4));
  Context context(1);
  plan->forward(t.inputs(), t.outputs(), context);
  const Picture seen = picture(*plan);
  for (Index i = 0; i < 40; ++i) {
    double sum = 0, count = 0;
    for (Index j = 0; j < 40; ++j) {
      if (seen[static_cast<size_t>(i)][static_cast<size_t>(j)] == '0') continue;
      sum += static_cast<double>(t.values.view().float_row(0, 0, j)[1]);
      ++count;
    }
    EXPECT_NEAR(t.output.view().float_row(0, 0, i)[1], sum / count, 1e-5);
    EXPECT_NEAR(*t.logsumexp.view().float_row(0, 0, i), std::log(count), 1e-5);
  }
}

TEST(Bigbird, RefusesAWindowThatHasNoMiddle) {
  try {
    make_with(kBigbird, square_problem(100), {{"window_blocks", "4"}});
    FAIL();
  } catch (const UnsupportedError& error) {
    EXPECT_STREQ(error.what(),
                 "bigbird: window_blocks 4 is even, but it counts both sides and the block itself: "
                 "3 or 5");
  }
}

// Settings that the kit, which changes one option at a time, does not reach: most of its problems
// have no more than four blocks of 64.
TEST(Bigbird, KeepsTheLawsWithSmallBlocks) {
  expect_conformance(kBigbird, options(5, 3, 2, 2));
  expect_conformance(kBigbird, options(16, 1, 1, 0));
}

}  // namespace
}  // namespace longattn
