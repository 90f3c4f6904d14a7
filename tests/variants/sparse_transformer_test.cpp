#include "variants/sparse_transformer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/variants/variant_testing.h"
#include "variants/full.h"

namespace longattn {
namespace {

using Picture = std::vector<std::string>;

std::unique_ptr<const Attention> sparse(const Problem& p, const std::string& pattern, Index stride,
                                        Index expressivity = 8,
                                        const std::string& reading = "code") {
  return make_with(kSparseTransformer, p,
                   {{"pattern", pattern},
                    {"stride", std::to_string(stride)},
                    {"expressivity", std::to_string(expressivity)},
                    {"reading", reading}});
}

TEST(SparseTransformer, WeighsTheKeysThatHandDrawnPatternsShow) {
  const Problem causal = square_problem(5, true), both = square_problem(5);
  EXPECT_EQ(picture(*sparse(causal, "local", 2)),
            (Picture{"10000", "11000", "01100", "00110", "00011"}));
  EXPECT_EQ(picture(*sparse(causal, "strided", 2)),
            (Picture{"10000", "11000", "11100", "01110", "10111"}));
  EXPECT_EQ(picture(*sparse(causal, "fixed", 2, 1)),
            (Picture{"10000", "11000", "01100", "01110", "01011"}));
  EXPECT_EQ(picture(*sparse(both, "local", 2)),
            (Picture{"11000", "11100", "01110", "00111", "00011"}));
  EXPECT_EQ(picture(*sparse(both, "strided", 3)),
            (Picture{"11110", "11111", "11111", "11111", "01111"}));
  EXPECT_EQ(picture(*sparse(both, "fixed", 3, 1)),
            (Picture{"11100", "11100", "11100", "00111", "00111"}));
}

TEST(SparseTransformer, ReadsTheOffByOnesAsItsSourcesDo) {
  const Problem p = square_problem(5, true);
  EXPECT_EQ(picture(*sparse(p, "local", 2, 1, "paper")),
            (Picture{"10000", "11000", "11100", "01110", "00111"}));
  EXPECT_EQ(picture(*sparse(p, "local", 2, 1, "lra")), picture(*sparse(p, "local", 2)));
  // Stride 3: residue 2 is the summary, and residue 0 in the readings with c + 1 columns.
  EXPECT_EQ(picture(*sparse(p, "fixed", 3, 1)),
            (Picture{"10000", "11000", "11100", "00110", "00111"}));
  for (const char* reading : {"paper", "lra"}) {
    EXPECT_EQ(picture(*sparse(p, "fixed", 3, 1, reading)),
              (Picture{"10000", "11000", "11100", "10110", "10111"}));
    EXPECT_EQ(picture(*sparse(p, "strided", 2, 1, reading)), picture(*sparse(p, "strided", 2)));
  }
}

TEST(SparseTransformer, OfEqualScoresIsTheMeanOfThePatternsValues) {
  const Problem p = square_problem(5, true);
  ProblemTensors t(p);
  std::fill_n(t.queries.floats(), t.queries.size(), 0.0f);
  for (Index j = 0; j < 5; ++j) std::fill_n(t.values.floats() + j * 4, 4, float(j + 1));
  Context context(1);
  sparse(p, "strided", 2)->forward(t.inputs(), t.outputs(), context);
  const std::vector<float> means = {1, 1.5f, 2, 3, 3.25f};  // the last: 1, 3, 4, 5
  for (Index i = 0; i < 5; ++i) {
    EXPECT_NEAR(t.output.view().float_row(0, 0, i)[0], means[static_cast<size_t>(i)], 1e-6);
    const double keys[] = {1, 2, 3, 3, 4};
    EXPECT_NEAR(*t.logsumexp.view().float_row(0, 0, i), std::log(keys[i]), 1e-6);
  }
}

// Section 4.2 asks of a factorisation that every position reaches every earlier one through as many
// steps as there are parts: two.
TEST(SparseTransformer, ReachesEveryEarlierTokenInTwoSteps) {
  constexpr Index kLen = 61;
  for (const char* name : {"strided", "fixed"}) {
    for (Index stride : {1, 4, 8, 61}) {
      const Picture sees = picture(*sparse(square_problem(kLen, true), name, stride, 1));
      for (size_t i = 0; i < kLen; ++i) {
        for (size_t j = 0; j <= i; ++j) {
          bool reached = false;
          for (size_t via = j; via <= i; ++via) {
            reached = reached || (sees[i][via] == '1' && sees[via][j] == '1');
          }
          EXPECT_TRUE(reached) << name << " " << stride << ": " << i << " to " << j;
        }
      }
    }
  }
}

// Table 2's Enwik8 and CIFAR-10 settings: 12,288 tokens (stride 128, c 32), 3,072 tokens.
TEST(SparseTransformer, ScoresTensOfTimesFewerPairsThanDenseAtThePapersLengths) {
  const auto pairs = [](Index len, const char* pattern, Index c) {
    return sparse(square_problem(len, true), pattern, 128, c)->cost(1).scored_pairs;
  };
  EXPECT_EQ(pairs(12288, "strided", 32), 2'148'416);
  EXPECT_EQ(pairs(12288, "fixed", 32), 19'470'336);
  const auto dense = [](double len) { return len * (len + 1) / 2; };
  EXPECT_NEAR(dense(12288) / pairs(12288, "strided", 32), 35.1, 0.05);
  EXPECT_NEAR(dense(12288) / pairs(12288, "fixed", 32), 3.88, 0.005);
  EXPECT_NEAR(dense(3072) / pairs(3072, "strided", 32), 11.2, 0.05);
}

// The closed forms of the header, as counted by hand.
double local_pairs(Index n, Index l) {
  const Index window = std::min(l, n);
  return static_cast<double>(window * n - window * (window - 1) / 2);
}
double strided_pairs(Index n, Index l) {
  const Index q = n / l, r = n % l;
  return local_pairs(n, l) + static_cast<double>(l * q * (q + 1) / 2 + r * (q + 1) - n);
}
double fixed_pairs(Index n, Index l, Index c) {
  const Index q = n / l, r = n % l, u = std::max<Index>(0, r - (l - c));
  Index pairs = q * l * (l + 1) / 2 + r * (r + 1) / 2;
  for (Index j = 0; j < n; ++j) pairs += j % l >= l - c ? n - j : 0;
  return static_cast<double>(pairs - q * c * (c + 1) / 2 - u * (u + 1) / 2);
}

TEST(SparseTransformer, ScoresAsManyPairsAsTheClosedFormsSay) {
  for (Index n : {1, 2, 30, 97}) {
    for (Index l : {1, 2, 7, 10, 96, 97, 200}) {
      const Problem p = square_problem(n, true);
      EXPECT_EQ(sparse(p, "local", l)->cost(1).scored_pairs, local_pairs(n, l));
      EXPECT_EQ(sparse(p, "strided", l)->cost(1).scored_pairs, strided_pairs(n, l));
      for (Index c : {1, 2, 7}) {
        if (c > l) continue;
        EXPECT_EQ(sparse(p, "fixed", l, c)->cost(1).scored_pairs, fixed_pairs(n, l, c));
      }
    }
  }
}

TEST(SparseTransformer, CountsThePairsThatItsDefinitionWeighs) {
  std::vector<Problem> problems = {square_problem(53, true), square_problem(53)};
  problems.push_back(problems[0]);
  problems.back().query_len = 20;
  problems.push_back(problems[1]);
  problems.back().query_len = 80;
  problems.push_back(problems[3]);
  problems.back().mask.key_lengths = {31};
  for (const Problem& p : problems) {
    for (const char* pattern : {"local", "strided", "fixed"}) {
      for (const char* reading : {"code", "paper", "lra"}) {
        for (Index stride : {1, 2, 7, 13, 60, 200}) {
          const auto plan = sparse(p, pattern, stride, 3, reading);
          EXPECT_EQ(plan->cost(1).scored_pairs, counted_pairs(*plan))
              << pattern << " " << reading << " " << stride << " " << p.query_len;
        }
      }
    }
  }
}

TEST(SparseTransformer, WithAReachOverTheSequenceOrAllColumnsEqualsFullAttention) {
  const auto expect_full = [](const Problem& p, const OptionTexts& options) {
    EXPECT_TRUE(traits_with(kSparseTransformer, p, options).exact);
    expect_forward_equals(*make_with(kSparseTransformer, p, options), *make_with(kFull, p, {}));
  };
  for (Index len : {1, 2, 131}) {
    for (bool causal : {false, true}) {
      const Problem p = square_problem(len, causal);
      const std::string whole = std::to_string(len);
      for (const char* pattern : {"local", "strided", "fixed"}) {
        expect_full(p, {{"pattern", pattern}, {"stride", whole}});
      }
      expect_full(p, {{"pattern", "strided"}, {"stride", "1"}});
      expect_full(p, {{"pattern", "fixed"}, {"stride", "20"}, {"expressivity", "20"}});
      expect_full(
          p,
          {{"pattern", "fixed"}, {"stride", "20"}, {"expressivity", "19"}, {"reading", "paper"}});
    }
  }
  EXPECT_FALSE(traits_with(kSparseTransformer, square_problem(131), {{"stride", "130"}}).exact);
}

TEST(SparseTransformer, TakesTheRootOfTheLengthAsStride) {
  EXPECT_EQ(make_with(kSparseTransformer, square_problem(90, true), {})->cost(1).scored_pairs,
            strided_pairs(90, 9));
  EXPECT_EQ(make_with(kSparseTransformer, square_problem(91, true), {})->cost(1).scored_pairs,
            strided_pairs(91, 10));
}

// Settings that the kit, which changes one option at a time, does not reach.
TEST(SparseTransformer, KeepsTheLawsWithSmallAndLargeStrides) {
  expect_conformance(kSparseTransformer, {{"stride", "5"}});
  expect_conformance(kSparseTransformer, {{"pattern", "local"}, {"reading", "paper"}});
  for (const char* stride : {"5", "100"}) {
    expect_conformance(
        kSparseTransformer,
        {{"pattern", "fixed"}, {"stride", stride}, {"expressivity", "2"}, {"reading", "lra"}});
  }
}

}  // namespace
}  // namespace longattn
