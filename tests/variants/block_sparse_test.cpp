#include "variants/block_sparse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/io/npy.h"
#include "tests/temporary_folder.h"
#include "tests/variants/variant_testing.h"
#include "variants/full.h"

namespace longattn {
namespace {

using Picture = std::vector<std::string>;
using ::testing::AllOf;
using ::testing::HasSubstr;

class BlockSparse : public ::testing::Test {
 protected:
  // A .npy file whose elements are the digits of `cells`.
  std::string layout(const std::vector<Index>& shape, const std::string& cells) {
    std::vector<float> elements;
    for (char cell : cells) elements.push_back(static_cast<float>(cell - '0'));
    const std::string path = folder_ / "layout.npy";
    write_npy(path, shape, elements);
    return path;
  }
  OptionTexts options(Index block, const std::string& text) {
    return {{"block_size", std::to_string(block)}, {"layout", text}};
  }
  template <class E>
  std::string message(const Problem& p, const OptionTexts& given) {
    try {
      make_with(kBlockSparse, p, given);
    } catch (const E& error) {
      return error.what();
    }
    return "accepted";
  }
  TemporaryFolder folder_;
};

TEST_F(BlockSparse, WeighsTheBlocksOfAFile) {
  const OptionTexts given = options(2, layout({3, 3}, "110001100"));
  EXPECT_EQ(picture(*make_with(kBlockSparse, square_problem(5), given)),
            (Picture{"11110", "11110", "00001", "00001", "11000"}));
}

// A layout is per block; the causal mask is per element.
TEST_F(BlockSparse, ShowsNoFutureInsideACausalBlock) {
  const OptionTexts given = options(2, layout({3, 3}, "110001101"));
  EXPECT_EQ(picture(*make_with(kBlockSparse, square_problem(5, true), given)),
            (Picture{"10000", "11000", "00000", "00000", "11001"}));
}

TEST_F(BlockSparse, GivesEachHeadTheLayoutOfItsOwn) {
  Problem p = square_problem(4);
  p.num_heads = 2;
  const OptionTexts given = options(2, layout({2, 2, 2}, "10010110"));
  const auto plan = make_with(kBlockSparse, p, given);
  EXPECT_EQ(picture(*plan, 0), (Picture{"1100", "1100", "0011", "0011"}));
  EXPECT_EQ(picture(*plan, 1), (Picture{"0011", "0011", "1100", "1100"}));
  EXPECT_FALSE(traits_with(kBlockSparse, p, given).heads_alike);
  EXPECT_EQ(plan->cost(1).scored_pairs, 16);
  expect_forward_equals(*plan, *plan);
}

// The last queries of a sequence follow the last rows of its layout.
TEST_F(BlockSparse, ServesTheLastQueriesWithTheSameLayout) {
  Problem p = square_problem(5);
  const OptionTexts given = options(2, layout({3, 3}, "110001100"));
  const Picture whole = picture(*make_with(kBlockSparse, p, given));
  p.query_len = 2;
  EXPECT_EQ(picture(*make_with(kBlockSparse, p, given)), Picture(whole.end() - 2, whole.end()));
}

TEST_F(BlockSparse, DrawsTheLayoutsThatHaveNames) {
  const auto drawn = [&](Index len, const std::string& name) {
    return picture(*make_with(kBlockSparse, square_problem(len), options(1, name)));
  };
  EXPECT_EQ(drawn(3, "dense"), (Picture{"111", "111", "111"}));
  EXPECT_EQ(drawn(5, "local"), (Picture{"11000", "11100", "01110", "00111", "00011"}));
  EXPECT_EQ(drawn(5, "butterfly"), (Picture{"11101", "11010", "10110", "01110", "10001"}));
  EXPECT_EQ(drawn(6, "fixed"),
            (Picture{"111101", "111101", "111101", "111101", "000111", "000111"}));
}

TEST_F(BlockSparse, ScoresAsManyPairsAsTheLayoutHasBlocks) {
  const auto pairs = [&](Index len, Index block, const std::string& name) {
    return make_with(kBlockSparse, square_problem(len), options(block, name))->cost(1).scored_pairs;
  };
  EXPECT_EQ(pairs(1024, 64, "dense"), 1024 * 1024);
  EXPECT_EQ(pairs(1024, 64, "local"), 64 * 64 * (3 * 16 - 2));
  EXPECT_EQ(pairs(1024, 64, "butterfly"), 64 * 64 * 16 * 5);
  EXPECT_EQ(pairs(1024, 64, "fixed"), 64 * 64 * 16 * (4 + 3));
  for (const char* name : {"dense", "local", "butterfly", "fixed"}) {
    for (bool causal : {false, true}) {
      const auto plan = make_with(kBlockSparse, square_problem(53, causal), options(3, name));
      EXPECT_EQ(plan->cost(1).scored_pairs, counted_pairs(*plan)) << name;
      expect_forward_equals(*plan, *plan);
    }
  }
}

// 0.03: what n log n bends away from its slope at 256 blocks, and a window adds to columns.
TEST_F(BlockSparse, ScoresPairsThatGrowAsDeclared) {
  for (const char* name : {"dense", "local", "butterfly", "fixed"}) {
    const auto pairs = [&](Index len) {
      return make_with(kBlockSparse, square_problem(len), options(64, name))->cost(1).scored_pairs;
    };
    const double declared =
        kBlockSparse.growth(Options(kBlockSparse.options, options(64, name))).time;
    EXPECT_NEAR(std::log(pairs(65536) / pairs(16384)) / std::log(4), declared, 0.03) << name;
  }
}

TEST_F(BlockSparse, OfAllBlocksEqualsFullAttention) {
  for (Index len : {1, 2, 131}) {
    const Problem p = square_problem(len);
    EXPECT_TRUE(traits_with(kBlockSparse, p, options(16, "dense")).exact);
    expect_forward_equals(*make_with(kBlockSparse, p, options(16, "dense")),
                          *make_with(kFull, p, {}));
    const Index blocks = (len + 15) / 16;
    const std::string ones(static_cast<size_t>(blocks * blocks), '1');
    expect_forward_equals(*make_with(kBlockSparse, p, options(16, layout({blocks, blocks}, ones))),
                          *make_with(kFull, p, {}));
    expect_forward_equals(*make_with(kBlockSparse, p, options(len, layout({1, 1}, "1"))),
                          *make_with(kFull, p, {}));
  }
}

TEST_F(BlockSparse, FollowsAFileAsItFollowsTheNameOfTheSameLayout) {
  const Problem p = square_problem(300);
  const Picture named =
      picture(*make_with(kBlockSparse, square_problem(19), options(1, "butterfly")));
  std::string cells;
  for (const std::string& line : named) cells += line;
  ProblemTensors a(p), b(p);
  Context context(1);
  make_with(kBlockSparse, p, options(16, "butterfly"))->forward(a.inputs(), a.outputs(), context);
  make_with(kBlockSparse, p, options(16, layout({19, 19}, cells)))
      ->forward(b.inputs(), b.outputs(), context);
  for (Index n = 0; n < a.output.size(); ++n) {
    ASSERT_EQ(a.output.floats()[n], b.output.floats()[n]);
  }
}

TEST_F(BlockSparse, RefusesALayoutOfAnotherShapeWithBothShapes) {
  Problem p = square_problem(512);
  p.num_heads = 2;
  const std::string path = layout({2, 2}, "1001");
  EXPECT_EQ(message<UnsupportedError>(p, options(64, path)),
            "block_sparse: layout " + path +
                " has shape [2, 2], expected [8, 8] or [2, 8, 8]: num_heads, and key_len 512 in "
                "blocks of 64");
}

TEST_F(BlockSparse, TellsWhatIsWrongWithAFile) {
  const Problem p = square_problem(4);
  EXPECT_THAT(message<DataError>(p, options(2, layout({2, 2}, "1021"))),
              HasSubstr("layout.npy: element 2 in C order, expected 0 or 1, found 2"));
  EXPECT_THAT(message<DataError>(p, options(2, folder_.file("text.npy", "10\n01\n"))),
              HasSubstr("text.npy: first bytes, expected"));
  EXPECT_EQ(message<OptionError>(p, options(2, "lcoal")),
            "option 'layout' is 'lcoal', expected a file or one of dense, local, fixed, "
            "butterfly; did you mean 'local'?");
}

TEST_F(BlockSparse, KeepsTheLawsWithSmallBlocks) {
  for (const char* name : {"local", "fixed", "butterfly"}) {
    expect_conformance(kBlockSparse, options(5, name));
  }
}

}  // namespace
}  // namespace longattn
