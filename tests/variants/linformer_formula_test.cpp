// Linformer against Wang et al. 2020, equation 7, written out: W = softmax(scale Q (E K)^T) F, with
// the keys that padding hides left out of E K and of F.
#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <cmath>

#include "core/error.h"
#include "core/io/npy.h"
#include "tests/temporary_folder.h"
#include "tests/variants/written_out.h"
#include "variants/linformer/linformer.h"
#include "variants/linformer/projections.h"

namespace longattn {
namespace {

/// E and F of every head, [projected_len, key_len].
struct Matrices {
  std::vector<Eigen::MatrixXd> e, f;
};

Rows projected_rows(const Problem& p, const DrawnTensors& t, Index b, Index h,
                    const Eigen::MatrixXd& e, const Eigen::MatrixXd& f) {
  const Index k = e.rows(), keys = p.visible_key_len(b);
  const double scale = scale_of(p);
  Eigen::MatrixXd projected = Eigen::MatrixXd::Zero(k, p.head_dim), terms = projected;
  for (Index j = 0; j < keys; ++j) {
    const auto key = t.key(b, p.kv_head(h), j);
    for (Index row = 0; row < k; ++row) {
      if (e(row, j) == 0) continue;
      for (Index c = 0; c < p.head_dim; ++c) {
        projected(row, c) += e(row, j) * key[static_cast<size_t>(c)];
        terms(row, c) += std::abs(e(row, j) * key[static_cast<size_t>(c)]);
      }
    }
  }
  Rows rows;
  rows.weights = Eigen::MatrixXd::Zero(p.query_len, p.key_len);
  rows.magnitudes = rows.weights;
  rows.score_bound = Eigen::VectorXd::Zero(p.query_len);
  if (keys == 0) return rows;
  for (Index i = 0; i < p.query_len; ++i) {
    const auto q = t.query(b, h, i);
    Eigen::VectorXd scores = Eigen::VectorXd::Zero(k);
    for (Index row = 0; row < k; ++row) {
      double bound = 0;
      for (Index c = 0; c < p.head_dim; ++c) {
        scores[row] += scale * q[static_cast<size_t>(c)] * projected(row, c);
        bound += std::abs(scale * q[static_cast<size_t>(c)]) * terms(row, c);
      }
      rows.score_bound[i] = std::max(rows.score_bound[i], bound);
    }
    const Eigen::VectorXd raised = (scores.array() - scores.maxCoeff()).exp();
    for (Index j = 0; j < keys; ++j) {
      for (Index row = 0; row < k; ++row) {
        if (f(row, j) == 0) continue;
        rows.weights(i, j) += raised[row] / raised.sum() * f(row, j);
        rows.magnitudes(i, j) += raised[row] / raised.sum() * std::abs(f(row, j));
      }
    }
  }
  return rows;
}

void expect_formula(const Problem& p, const OptionTexts& options, const Matrices& m, Dice& dice) {
  WrittenCase c{&kLinformer, p, options, [&](const DrawnTensors& t, Index b, Index h) {
                  return projected_rows(p, t, b, h, m.e[static_cast<size_t>(h)],
                                        m.f[static_cast<size_t>(h)]);
                }};
  c.products = p.key_len + p.head_dim;
  expect_as_written_out(c, dice);
}

/// What the plan draws or pools, entry by entry.
Matrices matrices_of(const Problem& p, const OptionTexts& texts) {
  const Projections projections(p, Options(kLinformer.options, texts));
  Matrices m;
  for (Index h = 0; h < p.num_heads; ++h) {
    for (const Side side : {Side::keys, Side::values}) {
      Eigen::MatrixXd entries(projections.length(), p.key_len);
      for (Index row = 0; row < entries.rows(); ++row) {
        for (Index j = 0; j < p.key_len; ++j) {
          entries(row, j) = projections.entry(side, h, row, j);
        }
      }
      (side == Side::keys ? m.e : m.f).push_back(entries);
    }
  }
  return m;
}

/// Row p is the mean over keys [p n / k, (p + 1) n / k).
Eigen::MatrixXd mean_pool(Index k, Index n) {
  Eigen::MatrixXd e = Eigen::MatrixXd::Zero(k, n);
  for (Index row = 0; row < k; ++row) {
    const Index begin = row * n / k, end = (row + 1) * n / k;
    for (Index j = begin; j < end; ++j) e(row, j) = 1 / static_cast<double>(end - begin);
  }
  return e;
}

Matrices alike(const Problem& p, const Eigen::MatrixXd& e, const Eigen::MatrixXd& f) {
  return {std::vector(static_cast<size_t>(p.num_heads), e),
          std::vector(static_cast<size_t>(p.num_heads), f)};
}
Matrices alike(const Problem& p, const Eigen::MatrixXd& e) { return alike(p, e, e); }

/// A problem that Linformer takes.
Problem taken_problem(Dice& dice, Index longest) {
  Problem p = drawn_problem(dice, longest);
  if (p.key_len == 0) p.key_len = p.query_len = 1;
  for (Index& length : p.mask.key_lengths) length = std::min(length, p.key_len);
  p.mask.causal = false;
  p.mask.document_ids.clear();
  p.mask.alibi_slopes.clear();
  return p;
}

TEST(LinformerFormula, MeanPoolIsThePapersWithMeansOfSegments) {
  Dice dice(1);
  for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
    for (Index k = 1; k <= len; ++k) {
      Problem p = problem_of(len);
      p.query_len = dice.between(1, len + 3);
      if (dice.one_in(2)) p.mask.key_lengths = {dice.between(0, len)};
      expect_formula(p, {{"projection", "mean_pool"}, {"projected_len", text_of(k)}},
                     alike(p, mean_pool(k, len)), dice);
      if (HasFatalFailure()) return;
    }
  }
  for (int n = 0; n < 250; ++n) {
    const Problem p = taken_problem(dice, dice.one_in(12) ? 331 : 97);
    const Index k = dice.between(1, p.key_len);
    expect_formula(p, {{"projection", "mean_pool"}, {"projected_len", text_of(k)}},
                   alike(p, mean_pool(k, p.key_len)), dice);
    if (HasFatalFailure()) return;
  }
}

TEST(LinformerFormula, DrawnProjectionsArePutToUseAsInThePaper) {
  Dice dice(2);
  for (int n = 0; n < 300; ++n) {
    const Problem p = taken_problem(dice, dice.one_in(12) ? 331 : 97);
    const OptionTexts options = {
        {"projection", dice.one_in(2) ? "gaussian" : "conv"},
        {"projected_len", dice.one_in(4) ? "auto" : text_of(dice.between(1, p.key_len))},
        {"share", dice.of({"none", "headwise", "key_value"})},
        {"seed", text_of(dice.below(3))}};
    expect_formula(p, options, matrices_of(p, options), dice);
    if (HasFatalFailure()) return;
  }
}

TEST(LinformerFormula, LearnedProjectionsOfAFileArePutToUseAsInThePaper) {
  Dice dice(3);
  const TemporaryFolder folder;
  const auto drawn = [&](Index k, Index n, const std::string& path, std::uint64_t seed) {
    const bool wide = dice.one_in(2);
    std::vector<double> numbers;
    Eigen::MatrixXd e(k, n);
    for (Index row = 0; row < k; ++row) {
      for (Index j = 0; j < n; ++j) {
        const double x = CounterRandom(seed).normal(static_cast<std::uint64_t>(row * n + j));
        numbers.push_back(x);
        e(row, j) = static_cast<double>(static_cast<float>(x));  // "used as float32"
      }
    }
    if (wide) {
      write_npy(path, std::array{k, n}, numbers);
    } else {
      write_npy(path, std::array{k, n}, std::vector<float>(numbers.begin(), numbers.end()));
    }
    return e;
  };
  for (int n = 0; n < 120; ++n) {
    const Problem p = taken_problem(dice, 97);
    const Index k = dice.between(1, p.key_len);
    const std::string e = folder / "e.npy", f = folder / "f.npy";
    const Eigen::MatrixXd first = drawn(k, p.key_len, e, 1), second = drawn(k, p.key_len, f, 2);
    OptionTexts options = {{"projection", "file"}, {"e", e}};
    if (dice.one_in(2)) options.push_back({"projected_len", text_of(k)});
    const bool both = dice.one_in(2);
    if (both) options.push_back({"f", f});
    expect_formula(p, options, alike(p, first, both ? second : first), dice);
    if (HasFatalFailure()) return;
  }
}

// Five keys to two rows: segments [0, 2) and [2, 5), because 1 * 5 / 2 = 2. Of keys 1, 3 and -1, 2,
// -1 the means are 2 and 0; with scale 1 the query 1 scores them 2 and 0, so they weigh e^2 and 1
// over e^2 + 1, and of that each key of a segment has its share of 1/2 or 1/3.
TEST(LinformerFormula, MeansOfTwoSegmentsByHand) {
  Problem p = problem_of(5, 1);
  p.query_len = 2;
  p.scale = 1;
  ProblemTensors t(p);
  std::ranges::copy(std::array{1.0F, 3.0F, -1.0F, 2.0F, -1.0F}, t.keys.floats());
  std::ranges::copy(std::array{1.0F, 0.0F}, t.queries.floats());
  const OptionTexts options = {{"projection", "mean_pool"}, {"projected_len", "2"}};
  const double first = std::exp(2.0) / (std::exp(2.0) + 1), second = 1 / (std::exp(2.0) + 1);
  Eigen::MatrixXd expected(2, 5);
  expected << first / 2, first / 2, second / 3, second / 3, second / 3,  //
      1 / 4., 1 / 4., 1 / 6., 1 / 6., 1 / 6.;                            // query 0: both rows alike
  EXPECT_LT((all_weights(*make_with(kLinformer, p, options), t.inputs()) - expected)
                .cwiseAbs()
                .maxCoeff(),
            1e-15);
  // Without the last three keys the second row is zeros: score 0 still, and value 0.
  p.mask.key_lengths = {2};
  expected.rightCols(3).setZero();
  EXPECT_LT((all_weights(*make_with(kLinformer, p, options), t.inputs()) - expected)
                .cwiseAbs()
                .maxCoeff(),
            1e-15);
}

void expect_full(const Problem& p, const OptionTexts& options, Dice& dice) {
  WrittenCase c{&kLinformer, p, options, [&](const DrawnTensors& t, Index b, Index h) {
                  Rows rows = softmax_rows(p, t, b, h, [](Index, Index) { return 1; });
                  rows.logsumexp.resize(0);
                  return rows;
                }};
  c.products = p.key_len + p.head_dim;
  expect_as_written_out(c, dice);
  EXPECT_TRUE(traits_with(kLinformer, p, options).exact);
}

TEST(LinformerFormula, MeanPoolToEveryKeyIsFullAttention) {
  Dice dice(4);
  for (int n = 0; n < 40; ++n) {
    Problem p = taken_problem(dice, 97);
    p.mask.key_lengths.clear();
    expect_full(p, {{"projection", "mean_pool"}, {"projected_len", text_of(p.key_len)}}, dice);
    if (HasFatalFailure()) return;
  }
}

std::string permutation_file(const TemporaryFolder& folder, Index n, std::uint64_t seed) {
  std::vector<float> e(static_cast<size_t>(n * n));
  for (Index row = 0; row < n; ++row) {
    e[static_cast<size_t>(row * n + permuted(CounterRandom(seed), n, row))] = 1;
  }
  const std::string path = folder / "permutation.npy";
  write_npy(path, std::array{n, n}, e);
  return path;
}

// An E that is the same for keys and values and only puts them in another order changes nothing.
TEST(LinformerFormula, APermutationOfAllKeysIsFullAttention) {
  Dice dice(5);
  const TemporaryFolder folder;
  for (int n = 0; n < 30; ++n) {
    Problem p = taken_problem(dice, 61);
    p.mask.key_lengths.clear();
    const std::string e = permutation_file(folder, p.key_len, static_cast<std::uint64_t>(n));
    const DrawnTensors t(p);
    const auto attention = make_with(kLinformer, p, {{"projection", "file"}, {"e", e}});
    for (Index h = 0; h < p.num_heads; ++h) {
      const Rows full = softmax_rows(p, t, 0, h, [](Index, Index) { return 1; });
      ASSERT_LE((all_weights(*attention, t.inputs(), h) - full.weights).cwiseAbs().maxCoeff(),
                1e-13);
    }
  }
}

// "An orthogonal E is not enough": softmax is not linear. A rotation by 45 degrees of two keys
// whose scores differ.
TEST(LinformerFormula, ARotationOfAllKeysIsNotFullAttention) {
  const TemporaryFolder folder;
  const auto root = static_cast<float>(std::sqrt(0.5));
  const std::string path = folder / "rotation.npy";
  write_npy(path, std::array{Index{2}, Index{2}}, std::vector{root, -root, root, root});
  const Problem p = problem_of(2);
  const DrawnTensors t(p);
  const Eigen::MatrixXd w =
      all_weights(*make_with(kLinformer, p, {{"projection", "file"}, {"e", path}}), t.inputs());
  const Rows full = softmax_rows(p, t, 0, 0, [](Index, Index) { return 1; });
  EXPECT_GT((w - full.weights).cwiseAbs().maxCoeff(), 0.01);
}

// Where keys and values do not change within a segment, their means lose nothing.
TEST(LinformerFormula, MeanPoolOfPiecewiseConstantKeysAndValuesIsFullAttention) {
  Dice dice(6);
  for (int n = 0; n < 30; ++n) {
    Problem p = taken_problem(dice, 20);
    p.mask.key_lengths.clear();
    const Index k = p.key_len;
    p.key_len *= dice.between(1, 5);
    const Index segment = p.key_len / k;
    DrawnTensors t(p);
    for (size_t tensor = 1; tensor < 3; ++tensor) {
      for (Index b = 0; b < p.batch; ++b) {
        for (Index kv = 0; kv < p.num_kv_heads; ++kv) {
          for (Index j = 0; j < p.key_len; ++j) {
            t.tensors[tensor].set(b, kv, j, t.tensors[tensor].row(b, kv, j / segment * segment));
          }
        }
      }
    }
    const auto attention =
        make_with(kLinformer, p, {{"projection", "mean_pool"}, {"projected_len", text_of(k)}});
    for (Index h = 0; h < p.num_heads; ++h) {
      const Rows full = softmax_rows(p, t, 0, h, [](Index, Index) { return 1; });
      ASSERT_LE((all_weights(*attention, t.inputs(), h) - full.weights).cwiseAbs().maxCoeff(),
                1e-13);
    }
  }
}

// "P bar is n x k": W = P bar F has rank k, whatever the length, and more than the softmax of the
// same queries and keys has room for.
TEST(LinformerFormula, RankOfTheWeightsIsTheProjectedLength) {
  for (const char* projection : {"gaussian", "mean_pool", "conv"}) {
    for (const Index k : {1, 3, 7}) {
      const Problem p = problem_of(31, 8);
      const DrawnTensors t(p, false, 3);
      const Eigen::MatrixXd w = all_weights(
          *make_with(kLinformer, p, {{"projection", projection}, {"projected_len", text_of(k)}}),
          t.inputs());
      const auto values = Eigen::JacobiSVD<Eigen::MatrixXd>(w).singularValues();
      EXPECT_GT(values[k - 1], 1e-6 * values[0]) << projection;
      EXPECT_LT(values[k], 1e-13 * values[0]) << projection;
    }
  }
}

}  // namespace
}  // namespace longattn
