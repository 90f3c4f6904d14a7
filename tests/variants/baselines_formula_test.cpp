// The baselines that an error is read against, written out: the k best keys of each row, k random
// ones, the best matrix of rank k.
#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <cmath>
#include <set>

#include "core/error.h"
#include "tests/variants/written_out.h"
#include "variants/low_rank_oracle.h"
#include "variants/random_keys.h"
#include "variants/topk_oracle.h"

namespace longattn {
namespace {

OptionTexts best(Index k) { return {{"k", text_of(k)}}; }
OptionTexts drawn(Index k, Index seed) { return {{"k", text_of(k)}, {"seed", text_of(seed)}}; }

// The k visible keys with the largest scores; of equal ones the first.
std::set<Index> largest(const Problem& p, Index b, Index h, Index i, Index k,
                        const Vectors& queries, const Vectors& keys) {
  std::vector<std::pair<double, Index>> scores;  // negated, so that they sort as wanted
  for (Index j = 0; j < p.key_len; ++j) {
    if (!mask_shows(p, b, i, j)) continue;
    double dot = 0;
    for (size_t c = 0; c < keys[static_cast<size_t>(j)].size(); ++c) {
      dot += queries[static_cast<size_t>(i)][c] * keys[static_cast<size_t>(j)][c];
    }
    scores.emplace_back(-(scale_of(p) * dot + bias_of(p, h, i, j)), j);
  }
  std::ranges::sort(scores);
  std::set<Index> chosen;
  for (size_t n = 0; n < scores.size() && static_cast<Index>(n) < k; ++n) {
    chosen.insert(scores[n].second);
  }
  return chosen;
}

Rows topk_rows(const Problem& p, const DrawnTensors& t, Index b, Index h, Index k) {
  const Vectors queries = t.all(0, b, h), keys = t.all(1, b, p.kv_head(h));
  std::vector<std::set<Index>> chosen;
  for (Index i = 0; i < p.query_len; ++i) {
    chosen.push_back(largest(p, b, h, i, k, queries, keys));
  }
  return softmax_rows(p, t, b, h, [&](Index i, Index j) {
    return chosen[static_cast<size_t>(i)].contains(j) ? 1 : 0;
  });
}

TEST(TopkOracleFormula, WeighsTheKeysWithTheLargestScores) {
  Dice dice(1);
  for (int n = 0; n < 400; ++n) {
    Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    if (dice.one_in(8)) p.scale = dice.one_in(2) ? -0.5 : 0;  // with 0 all scores may be alike
    const Index k = dice.one_in(12) ? kHuge : dice.between(1, std::min<Index>(p.key_len + 2, 40));
    expect_as_written_out(
        {&kTopkOracle, p, best(k),
         [&](const DrawnTensors& t, Index b, Index h) { return topk_rows(p, t, b, h, k); }},
        dice);
    if (HasFatalFailure()) return;
  }
}

// Scores 2 1 2 2 0 of a query; of the two best, of three alike, the first two.
TEST(TopkOracleFormula, TiesGoToTheLowerIndexByHand) {
  Problem p = problem_of(5, 1);
  p.query_len = 1;
  ProblemTensors t(p);
  t.queries.floats()[0] = 1;
  std::ranges::copy(std::array{2.0F, 1.0F, 2.0F, 2.0F, 0.0F}, t.keys.floats());
  const auto w = [&](Index k) {
    return all_weights(*make_with(kTopkOracle, p, best(k)), t.inputs());
  };
  Eigen::MatrixXd expected(1, 5);
  expected << 1, 0, 0, 0, 0;
  EXPECT_EQ(w(1), expected);
  expected << 0.5, 0, 0.5, 0, 0;
  EXPECT_EQ(w(2), expected);
  const double e = std::exp(1.0);
  expected << e / (3 * e + 1), 1 / (3 * e + 1), e / (3 * e + 1), e / (3 * e + 1), 0;
  EXPECT_LT((w(4) - expected).cwiseAbs().maxCoeff(), 1e-15);
}

// Many ties: small whole numbers, where every score is exact.
TEST(TopkOracleFormula, TiesOfWholeNumbersAreBrokenAlikeByDefinitionAndForward) {
  Dice dice(2);
  for (int n = 0; n < 60; ++n) {
    Problem p = drawn_problem(dice, 61);
    p.head_dim = 2;
    p.dtype = DType::float32;
    const Index k = dice.between(1, 12);
    DrawnTensors t(p);
    for (StridedTensor& tensor : t.tensors) {
      if (&tensor == &t.tensors[2]) continue;
      for (Index b = 0; b < p.batch; ++b) {
        for (Index h = 0; h < tensor.view.heads(); ++h) {
          for (Index i = 0; i < tensor.view.len(); ++i) {
            tensor.set(
                b, h, i,
                {static_cast<double>(dice.below(3)) - 1, static_cast<double>(dice.below(3)) - 1});
          }
        }
      }
    }
    const auto attention = make_with(kTopkOracle, p, best(k));
    Tensor output({p.batch, p.num_heads, p.query_len, p.value_dim});
    Context context(2);
    attention->forward(t.inputs(), {output.mutable_view(), {}}, context);
    for (Index b = 0; b < p.batch; ++b) {
      for (Index h = 0; h < p.num_heads; ++h) {
        const Rows expected = topk_rows(p, t, b, h, k);
        const auto definition = attention->definition(t.inputs(), b, h);
        expect_rows(definition->rows(all_queries(p)), expected, p.head_dim);
        if (HasFatalFailure()) return;
        ExpectedRows bound =
            expected_rows(*attention, t.inputs(), *definition, b, h, all_queries(p));
        bound.output = weigh_values(p, t.inputs(), expected, b, h);
        if (p.query_len > 0) ASSERT_LE(worst_ratio(bound, output_rows(p, output, b, h)), 1);
      }
    }
  }
}

// "Of all sets of k keys T_i captures most": all sets of 7 keys.
TEST(TopkOracleFormula, NoOtherSetOfKKeysCapturesMore) {
  Problem p = problem_of(7);
  p.mask.alibi_slopes = {0.25};
  const DrawnTensors t(p);
  const Rows full = softmax_rows(p, t, 0, 0, [](Index, Index) { return 1; });
  for (Index k = 1; k <= 7; ++k) {
    const Eigen::MatrixXd w = all_weights(*make_with(kTopkOracle, p, best(k)), t.inputs());
    for (Index i = 0; i < 7; ++i) {
      double captured = 0, most = 0;
      for (Index j = 0; j < 7; ++j) captured += w(i, j) > 0 ? full.weights(i, j) : 0;
      for (unsigned set = 0; set < 128; ++set) {
        if (std::popcount(set) != k) continue;
        double mass = 0;
        for (unsigned j = 0; j < 7; ++j) mass += set >> j & 1 ? full.weights(i, j) : 0;
        most = std::max(most, mass);
      }
      EXPECT_EQ((w.row(i).array() > 0).count(), k);
      EXPECT_NEAR(captured, most, 1e-15);
    }
  }
}

Eigen::MatrixXd random_weights(const Problem& p, Index k, Index seed, Index head = 0, Index b = 0) {
  const DrawnTensors t(p);
  return all_rows(*make_with(kRandomKeys, p, drawn(k, seed)), t.inputs(), head, b).weights;
}

// Which keys is up to the draw; how many, and what they weigh, is not.
TEST(RandomKeysFormula, WeighsThatManyVisibleKeysByTheirTrueScores) {
  Dice dice(3);
  for (int n = 0; n < 400; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    const Index k = dice.one_in(12) ? kHuge : dice.between(1, std::min<Index>(p.key_len + 2, 40));
    const Index seed = dice.below(3);
    const auto rows = [&](const DrawnTensors& t, Index b, Index h) {
      const auto attention = make_with(kRandomKeys, p, drawn(k, seed));
      const Eigen::MatrixXd w = all_rows(*attention, t.inputs(), h, b).weights;
      for (Index i = 0; i < p.query_len; ++i) {
        Index visible = 0;
        for (Index j = 0; j < p.key_len; ++j) visible += mask_shows(p, b, i, j);
        EXPECT_EQ((w.row(i).array() > 0).count(), std::min(k, visible)) << "query " << i;
      }
      return softmax_rows(p, t, b, h, [&](Index i, Index j) { return w(i, j) > 0 ? 1 : 0; });
    };
    expect_as_written_out({&kRandomKeys, p, drawn(k, seed), rows}, dice);
    if (HasFailure()) return;
  }
}

TEST(RandomKeysFormula, DrawsDependOnSeedHeadPositionAndTheNumberOfVisibleKeysAlone) {
  const auto seen = [](const Eigen::MatrixXd& w) -> Eigen::MatrixXd {
    return (w.array() > 0).cast<double>();
  };
  Problem p = square_problem(37, true);
  p.num_heads = 2;
  p.batch = 2;
  const Eigen::MatrixXd whole = seen(random_weights(p, 5, 7));
  EXPECT_EQ(seen(random_weights(p, 5, 7, 0, 1)), whole) << "another batch entry";
  Problem prefix = p;
  prefix.key_len = prefix.query_len = 20;
  EXPECT_EQ(seen(random_weights(prefix, 5, 7)), whole.topLeftCorner(20, 20)) << "a prefix";
  Problem last = p;
  last.query_len = 3;
  EXPECT_EQ(seen(random_weights(last, 5, 7)), whole.bottomRows(3)) << "the last queries";
  Problem padded = p;
  padded.mask.causal = false;
  padded.mask.key_lengths = {11, 11};
  Problem shorter = padded;
  shorter.mask.key_lengths.clear();
  shorter.key_len = 11;
  shorter.query_len = 11;
  EXPECT_EQ(seen(random_weights(padded, 5, 7)).topLeftCorner(11, 11),
            seen(random_weights(shorter, 5, 7)))
      << "padding";
  EXPECT_NE(seen(random_weights(p, 5, 8)), whole);
  EXPECT_NE(seen(random_weights(p, 5, 7, 1)), whole);
  for (Index k = 1; k < 40; ++k) {  // nested
    const Eigen::MatrixXd few = seen(random_weights(p, k, 7)),
                          more = seen(random_weights(p, k + 1, 7));
    EXPECT_GE((more - few).minCoeff(), 0) << k;
  }
}

// Of 11 keys every one is drawn alike often, and so is every distance between the first two draws.
TEST(RandomKeysFormula, EveryVisibleKeyIsDrawnEquallyOften) {
  constexpr Index kKeys = 11, kSeeds = 300;
  const Problem p = problem_of(kKeys);
  Eigen::VectorXd hits = Eigen::VectorXd::Zero(kKeys), gaps = Eigen::VectorXd::Zero(kKeys);
  for (Index seed = 0; seed < kSeeds; ++seed) {
    const Eigen::MatrixXd one = random_weights(p, 1, seed), two = random_weights(p, 2, seed);
    for (Index i = 0; i < kKeys; ++i) {
      Index first = 0, second = 0;
      for (Index j = 0; j < kKeys; ++j) {
        if (one(i, j) > 0) first = j;
      }
      for (Index j = 0; j < kKeys; ++j) {
        if (two(i, j) > 0 && j != first) second = j;
      }
      hits[first] += 1;
      gaps[(second - first + kKeys) % kKeys] += 1;
    }
  }
  const double each = kSeeds, between = 1.0 * kSeeds * kKeys / (kKeys - 1);
  EXPECT_LT((hits.array() - each).square().sum() / each, 35.6);  // 10 degrees, one in ten thousand
  EXPECT_EQ(gaps[0], 0);
  EXPECT_LT((gaps.tail(kKeys - 1).array() - between).square().sum() / between, 33.7);  // 9
}

Problem taken_by_low_rank(Dice& dice) {
  Problem p = drawn_problem(dice, 47);
  p.mask.causal = false;
  p.mask.document_ids.clear();
  if (p.key_len == 0) p.key_len = 1, p.mask.key_lengths.clear();
  p.query_len = std::max<Index>(p.query_len, 1);
  return p;
}

// Eckart & Young: the weights are as near as the singular values that are left out allow, and have
// rank k. Directions are found to 1e-6 of each sigma^2 (header), so what they capture is, too.
TEST(LowRankOracleFormula, IsAsNearAsTheSingularValuesThatAreLeftOut) {
  Dice dice(4);
  for (int n = 0; n < 120; ++n) {
    const Problem p = taken_by_low_rank(dice);
    const Index k = dice.one_in(12) ? kHuge : dice.between(1, std::min<Index>(12, p.key_len + 2));
    const auto attention = make_with(kLowRankOracle, p, best(k));
    EXPECT_FALSE(attention->has_logsumexp());
    const DrawnTensors t(p, false, dice.one_in(2) ? 3 : 1);
    Tensor output({p.batch, p.num_heads, p.query_len, p.value_dim});
    Context context(2);
    attention->forward(t.inputs(), {output.mutable_view(), {}}, context);
    EXPECT_LE(static_cast<double>(context.workspace().peak_bytes()),
              attention->cost(2).workspace_bytes);
    for (Index b = 0; b < p.batch; ++b) {
      for (Index h = 0; h < p.num_heads; ++h) {
        const Eigen::MatrixXd full =
            softmax_rows(p, t, b, h, [](Index, Index) { return 1; }).weights;
        const auto definition = attention->definition(t.inputs(), b, h);
        const Eigen::MatrixXd w = definition->rows(all_queries(p)).weights;
        const Eigen::VectorXd sigma = Eigen::JacobiSVD<Eigen::MatrixXd>(full).singularValues();
        const Index kept = std::min<Index>(k, sigma.size());
        const double left = sigma.tail(sigma.size() - kept).squaredNorm(),
                     slack = 1e-6 * sigma.head(kept).squaredNorm();
        const double found = (full - w).squaredNorm();
        ASSERT_GE(found, left - 1e-12) << "nothing of that rank is nearer";
        ASSERT_LE(found, left + (kept == sigma.size() ? 1e-20 : slack));
        const Eigen::VectorXd rank = Eigen::JacobiSVD<Eigen::MatrixXd>(w).singularValues();
        for (Index a = kept; a < rank.size(); ++a) ASSERT_LT(rank[a], 1e-12);
        for (Index j = p.visible_key_len(b); j < p.key_len; ++j) {
          ASSERT_EQ(w.col(j).cwiseAbs().maxCoeff(), 0) << "padding";
        }
        const ExpectedRows expected =
            expected_rows(*attention, t.inputs(), *definition, b, h, all_queries(p));
        ASSERT_LE(worst_ratio(expected, output_rows(p, output, b, h)), 1);
      }
    }
  }
}

// [a, 1 - a; 1 - a, a] has singular values 1 and 2 a - 1 with vectors (1, 1) and (1, -1) over the
// root of 2: the nearest matrix of rank 1 is 1/2 everywhere.
TEST(LowRankOracleFormula, TwoKeysByHand) {
  Problem p = problem_of(2, 1);
  p.scale = 1;
  ProblemTensors t(p);
  for (float* x : {t.queries.floats(), t.keys.floats()}) {
    x[0] = 1;
    x[1] = -1;
  }
  const Eigen::MatrixXd one = all_weights(*make_with(kLowRankOracle, p, best(1)), t.inputs());
  EXPECT_LT((one.array() - 0.5).abs().maxCoeff(), 1e-6);
  // Scores 1, -1: a = e / (e + 1/e).
  const double a = std::exp(1.0) / (std::exp(1.0) + std::exp(-1.0));
  Eigen::MatrixXd expected(2, 2);
  expected << a, 1 - a, 1 - a, a;
  const Eigen::MatrixXd two = all_weights(*make_with(kLowRankOracle, p, best(2)), t.inputs());
  EXPECT_LT((two - expected).cwiseAbs().maxCoeff(), 1e-14);
}

TEST(LowRankOracleFormula, MasksThatTheNearestMatrixCannotKeepAreRefused) {
  EXPECT_THROW(make_with(kLowRankOracle, square_problem(5, true), {}), UnsupportedError);
  Problem p = square_problem(5);
  p.mask.document_ids.assign(5, 0);
  EXPECT_THROW(make_with(kLowRankOracle, p, {}), UnsupportedError);
  EXPECT_NO_THROW(make_with(kLowRankOracle, square_problem(4096), {}));
  EXPECT_THROW(make_with(kLowRankOracle, square_problem(4097), {}), UnsupportedError);
  EXPECT_THROW(make_with(kLowRankOracle, square_problem(5), best(0)), OptionError);
}

}  // namespace
}  // namespace longattn
