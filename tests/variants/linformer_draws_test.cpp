// What Linformer draws: entries of E and F one by one, their distribution, who shares them, and
// Wang et al. 2020, theorem 1, for which they are drawn. Bounds are of five standard deviations.
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/io/npy.h"
#include "tests/temporary_folder.h"
#include "tests/variants/written_out.h"
#include "variants/linformer/linformer.h"
#include "variants/linformer/projections.h"

namespace longattn {
namespace {

constexpr double kFive = 5;

Problem heads_problem(Index heads, Index kv_heads, Index len) {
  Problem p = problem_of(len);
  p.num_heads = heads;
  p.num_kv_heads = kv_heads;
  return p;
}

Eigen::MatrixXd matrix(const Problem& p, const OptionTexts& texts, Side side, Index head) {
  const Projections projections(p, Options(kLinformer.options, texts));
  Eigen::MatrixXd entries(projections.length(), p.key_len);
  for (Index row = 0; row < entries.rows(); ++row) {
    for (Index j = 0; j < p.key_len; ++j) entries(row, j) = projections.entry(side, head, row, j);
  }
  return entries;
}

OptionTexts drawn(const std::string& projection, Index k, const std::string& share = "key_value",
                  Index seed = 1) {
  return {{"projection", projection},
          {"projected_len", text_of(k)},
          {"share", share},
          {"seed", text_of(seed)}};
}

double correlation(const Eigen::MatrixXd& a, const Eigen::MatrixXd& b) {
  return a.cwiseProduct(b).sum() / std::sqrt(a.squaredNorm() * b.squaredNorm());
}

TEST(LinformerDraws, GaussianEntriesAreNormalWithVarianceOneOverTheProjectedLength) {
  const Problem p = heads_problem(1, 1, 601);
  for (const Index k : {1, 8, 64}) {
    const Eigen::ArrayXXd x =
        matrix(p, drawn("gaussian", k), Side::keys, 0).array() * std::sqrt(static_cast<double>(k));
    const auto count = static_cast<double>(x.size());
    EXPECT_LT(std::abs(x.mean()), kFive * std::sqrt(1 / count));
    EXPECT_LT(std::abs(x.square().mean() - 1), kFive * std::sqrt(2 / count));
    EXPECT_LT(std::abs(x.pow(3).mean()), kFive * std::sqrt(15 / count));
    EXPECT_LT(std::abs(x.pow(4).mean() - 3), kFive * std::sqrt(96 / count));
    const Eigen::Index n = x.cols() - 1, rows = x.rows() - 1;  // neighbours have nothing in common
    EXPECT_LT(std::abs((x.leftCols(n) * x.rightCols(n)).mean()), kFive * std::sqrt(1 / count));
    if (rows == 0) continue;
    EXPECT_LT(std::abs((x.topRows(rows) * x.bottomRows(rows)).mean()),
              kFive * std::sqrt(1.2 / count));
  }
}

// One kernel of as many taps as the longest segment has keys, at the beginning of each segment.
TEST(LinformerDraws, ConvolutionIsOneKernelForAllSegments) {
  double squares = 0, taps_seen = 0;
  for (const auto& [n, k] :
       {std::pair<Index, Index>{12, 4}, {13, 4}, {11, 7}, {5, 5}, {97, 1}, {601, 3}}) {
    const Eigen::MatrixXd f = matrix(heads_problem(1, 1, n), drawn("conv", k), Side::values, 0);
    const Index taps = (n + k - 1) / k;
    std::vector<double> kernel;
    for (Index row = 0; row < k; ++row) {  // the first segment that is long
      const Index begin = row * n / k, end = (row + 1) * n / k;
      if (end - begin < taps || !kernel.empty()) continue;
      for (Index j = begin; j < end; ++j) kernel.push_back(f(row, j));
    }
    ASSERT_EQ(static_cast<Index>(kernel.size()), taps);
    for (Index row = 0; row < k; ++row) {
      const Index begin = row * n / k, end = (row + 1) * n / k;
      for (Index j = 0; j < n; ++j) {
        const bool inside = begin <= j && j < end;
        ASSERT_EQ(f(row, j), inside ? kernel[static_cast<size_t>(j - begin)] : 0);
      }
    }
    for (const double w : kernel) {
      squares += w * w * static_cast<double>(taps);
      taps_seen += 1;
    }
  }
  // N(0, 1 / taps)
  EXPECT_LT(std::abs(squares / taps_seen - 1), kFive * std::sqrt(2 / taps_seen));
}

TEST(LinformerDraws, AreSharedAsThePaperSays) {
  const Problem p = heads_problem(4, 2, 211);
  const double alike = 1 - 1e-12, apart = kFive / std::sqrt(8 * 211.0),
               few = kFive / std::sqrt(27.0);
  for (const char* projection : {"gaussian", "conv"}) {
    const double different = projection[0] == 'g' ? apart : few;
    const auto e = [&](const char* share, Index head) {
      return matrix(p, drawn(projection, 8, share), Side::keys, head);
    };
    const auto f = [&](const char* share, Index head) {
      return matrix(p, drawn(projection, 8, share), Side::values, head);
    };
    for (Index h = 0; h < 4; ++h) {
      EXPECT_EQ(e("key_value", h), e("key_value", 0));
      EXPECT_EQ(f("key_value", h), e("key_value", 0));
      EXPECT_EQ(e("headwise", h), e("headwise", 0));
      EXPECT_EQ(f("headwise", h), f("headwise", 0));
      EXPECT_LT(std::abs(correlation(e("headwise", h), f("headwise", h))), different);
      EXPECT_LT(std::abs(correlation(e("none", h), f("none", h))), different);
      for (Index g = 0; g < h; ++g) {
        EXPECT_LT(std::abs(correlation(e("none", g), e("none", h))), different);
        EXPECT_LT(std::abs(correlation(e("none", g), f("none", h))), different);
        EXPECT_LT(std::abs(correlation(f("none", g), f("none", h))), different);
      }
      EXPECT_GT(correlation(e("none", h), e("none", h)), alike);
    }
  }
}

TEST(LinformerDraws, AnotherSeedDrawsOtherNumbersAndTheSameSeedTheSame) {
  const Problem p = heads_problem(1, 1, 211);
  const auto of_seed = [&](Index seed) {
    return matrix(p, drawn("gaussian", 8, "key_value", seed), Side::keys, 0);
  };
  EXPECT_EQ(of_seed(3), of_seed(3));
  EXPECT_LT(std::abs(correlation(of_seed(3), of_seed(4))), kFive / std::sqrt(8 * 211.0));
}

// "Entry (p, j) is a function of seed, head, row p and j alone: a shorter sequence takes the first
// columns".
TEST(LinformerDraws, AShorterSequenceTakesTheFirstColumns) {
  for (const char* share : {"none", "headwise", "key_value"}) {
    for (const Side side : {Side::keys, Side::values}) {
      const Eigen::MatrixXd longer =
          matrix(heads_problem(4, 2, 211), drawn("gaussian", 8, share), side, 3);
      for (const Index n : {8, 13, 210}) {
        EXPECT_EQ(matrix(heads_problem(4, 2, n), drawn("gaussian", 8, share), side, 3),
                  longer.leftCols(n));
      }
      // Neither do other heads matter, nor more rows, but for their scale.
      EXPECT_EQ(matrix(heads_problem(6, 1, 211), drawn("gaussian", 8, share), side, 3), longer);
      const Eigen::MatrixXd taller =
          matrix(heads_problem(4, 2, 211), drawn("gaussian", 32, share), side, 3);
      EXPECT_LT((2 * taller.topRows(8) - longer).cwiseAbs().maxCoeff(), 1e-6);
    }
  }
}

// Theorem 1 rests on it: for R with entries N(0, 1/k), (R x).(R y) is x.y on average, with variance
// (|x|^2 |y|^2 + (x.y)^2) / k. Sixteen pairs of unit vectors x.y = 0 or 1/2 for each of 60 seeds.
TEST(LinformerDraws, ProjectionsKeepInnerProductsAsTheoremOneNeeds) {
  constexpr Index kLen = 64, kSeeds = 60;
  for (const double cosine : {0.0, 0.5}) {
    for (const Index k : {4, 16, 64}) {
      double error = 0, squares = 0;
      Index count = 0;
      for (Index seed = 0; seed < kSeeds; ++seed) {
        const Eigen::MatrixXd r = matrix(heads_problem(1, 1, kLen),
                                         drawn("gaussian", k, "key_value", seed), Side::keys, 0);
        for (Index pair = 0; pair < 16; ++pair) {
          Eigen::VectorXd x = Eigen::VectorXd::Zero(kLen), y = x;
          x[4 * pair] = x[4 * pair + 1] = std::sqrt(0.5);
          y[4 * pair + 2] = std::sqrt(1 - cosine * cosine);
          y[4 * pair] = y[4 * pair + 1] = cosine * std::sqrt(0.5);
          const double difference = (r * x).dot(r * y) - x.dot(y);
          error += difference;
          squares += difference * difference;
          ++count;
        }
      }
      const double variance = (1 + cosine * cosine) / static_cast<double>(k),
                   n = static_cast<double>(count);
      EXPECT_LT(std::abs(error / n), kFive * std::sqrt(variance / n));
      // A sum of k products has an excess kurtosis of at most 12 / k.
      const double spread = std::sqrt((2 + 12 / static_cast<double>(k)) / n);
      EXPECT_LT(std::abs(squares / n / variance - 1), kFive * spread);
    }
  }
}

Index automatic_len(Index key_len) {
  const Problem p = problem_of(key_len);
  return static_cast<Index>(make_with(kLinformer, p, {})->cost(1).scored_pairs) / p.query_len;
}

TEST(LinformerDraws, AutomaticLengthIsAnEighthAtMost256) {
  for (const Index n : {1, 7, 8, 9, 15, 16, 100, 2047, 2048, 2056, 5000}) {
    EXPECT_EQ(automatic_len(n), std::clamp<Index>(n / 8, 1, 256)) << n;
  }
}

// Header: projection 2 n k (d_k + d_v) per kv head (per query head if not shared), pools 2 n (d_k +
// d_v); then query_len k scored pairs per head.
TEST(LinformerDraws, CostIsTheHeadersFormula) {
  Problem p = heads_problem(6, 2, 101);
  p.batch = 2;
  p.query_len = 37;
  p.value_dim = 5;
  const double core = 2.0 * 6 * 2 * 37 * 9 * (4 + 5);
  const auto flops = [&](const char* projection, const char* share) {
    const Cost cost = make_with(kLinformer, p, drawn(projection, 9, share))->cost(1);
    EXPECT_EQ(cost.scored_pairs, 2.0 * 6 * 37 * 9);
    return cost.flops - core;
  };
  EXPECT_EQ(flops("gaussian", "key_value"), 2.0 * 2 * 2 * 101 * 9 * (4 + 5));
  EXPECT_EQ(flops("gaussian", "headwise"), 2.0 * 2 * 2 * 101 * 9 * (4 + 5));
  EXPECT_EQ(flops("gaussian", "none"), 2.0 * 6 * 2 * 101 * 9 * (4 + 5));
  EXPECT_EQ(flops("mean_pool", "key_value"), 2.0 * 2 * 2 * 101 * (4 + 5));
  EXPECT_EQ(flops("conv", "none"), 2.0 * 6 * 2 * 101 * (4 + 5));
}

std::string refusal(const Problem& p, const OptionTexts& options) {
  try {
    make_with(kLinformer, p, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(LinformerDraws, WhatCannotBeIsRefused) {
  const auto masked = [](auto change) {
    Problem p = problem_of(8);
    change(p.mask);
    return refusal(p, {});
  };
  EXPECT_NE(masked([](Mask& m) { m.causal = true; }), "");
  EXPECT_NE(masked([](Mask& m) { m.document_ids.assign(8, 0); }), "");
  EXPECT_NE(masked([](Mask& m) { m.alibi_slopes = {0.5}; }), "");
  const std::string longer = refusal(problem_of(8), drawn("mean_pool", 9));
  EXPECT_NE(longer.find('9'), std::string::npos) << longer;
  EXPECT_NE(longer.find('8'), std::string::npos) << longer;

  const TemporaryFolder folder;
  const auto file = [&](Index rows, Index columns, float x) {
    const std::string path = folder / "e.npy";
    write_npy(path, std::array{rows, columns},
              std::vector<float>(static_cast<size_t>(rows * columns), x));
    return path;
  };
  const auto with_file = [&](const std::string& path, const char* more = "auto") {
    return refusal(problem_of(8), {{"projection", "file"}, {"e", path}, {"projected_len", more}});
  };
  EXPECT_EQ(with_file(file(3, 8, 1)), "");
  EXPECT_EQ(with_file(file(3, 8, 1), "3"), "");
  EXPECT_NE(with_file(file(3, 8, 1), "4"), "");
  EXPECT_NE(with_file(file(3, 7, 1)), "");
  EXPECT_NE(with_file(file(3, 9, 1)), "");
  EXPECT_NE(with_file(file(9, 8, 1)), "") << "more rows than keys";
  EXPECT_NE(with_file(file(0, 8, 1)), "") << "no row";
  EXPECT_NE(with_file(folder / "none.npy"), "");
  EXPECT_NE(with_file(""), "");
  EXPECT_NE(refusal(problem_of(8), {{"e", file(3, 8, 1)}}), "") << "a file that nobody reads";
  EXPECT_NE(refusal(problem_of(8), {{"projection", "file"}, {"f", file(3, 8, 1)}}), "") << "no e";
  const std::string e = folder / "first.npy";
  write_npy(e, std::array{Index{2}, Index{8}}, std::vector<float>(16));
  EXPECT_NE(refusal(problem_of(8), {{"projection", "file"}, {"e", e}, {"f", file(3, 8, 1)}}), "")
      << "two lengths";
}

}  // namespace
}  // namespace longattn
