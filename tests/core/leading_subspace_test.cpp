#include "core/leading_subspace.h"

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <cmath>
#include <vector>

#include "core/random.h"
#include "core/symmetric_eigen.h"

namespace longattn {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix gaussian(Index rows, Index columns, std::uint64_t seed) {
  Matrix m(rows, columns);
  const CounterRandom random(seed);
  for (Index n = 0; n < m.size(); ++n) m.data()[n] = random.normal(static_cast<std::uint64_t>(n));
  return m;
}

// Orthonormal columns.
Eigen::MatrixXd orthonormal(Index rows, Index columns, std::uint64_t seed) {
  const Eigen::HouseholderQR<Eigen::MatrixXd> qr(gaussian(rows, columns, seed));
  return Eigen::MatrixXd(qr.householderQ() * Eigen::MatrixXd::Identity(rows, columns));
}

struct Eigenpairs {
  Eigen::VectorXd values;
  Matrix vectors;  // rows
};

Eigenpairs eigen(Matrix a) {
  const Index n = a.rows();
  Eigenpairs pairs{Eigen::VectorXd(n), Matrix(n, n)};
  std::vector<double> scratch(static_cast<size_t>(2 * n));
  symmetric_eigen(n, {a.data(), static_cast<size_t>(n * n)},
                  {pairs.vectors.data(), static_cast<size_t>(n * n)},
                  {pairs.values.data(), static_cast<size_t>(n)}, scratch);
  return pairs;
}

Matrix leading(const Matrix& m, Index rank, int threads = 1) {
  Matrix basis(rank, m.cols());
  Context context(threads);
  leading_right_vectors({m.data(), static_cast<size_t>(m.size())}, m.rows(), m.cols(), rank,
                        {basis.data(), static_cast<size_t>(basis.size())}, context);
  EXPECT_EQ(context.workspace().peak_bytes(), leading_workspace_bytes(m.cols(), rank));
  EXPECT_EQ(context.workspace().bytes(), 0);
  EXPECT_LE((basis * basis.transpose() - Matrix::Identity(rank, rank)).cwiseAbs().maxCoeff(),
            1e-12);
  return basis;
}

// |M - M B^T B|^2 against what is left by the true singular vectors.
void expect_best(const Matrix& m, Index rank) {
  const Eigen::JacobiSVD<Eigen::MatrixXd> svd(m);
  const Eigen::VectorXd sigma = svd.singularValues();
  const Index kept = std::min<Index>(rank, sigma.size());
  const double best = sigma.tail(sigma.size() - kept).squaredNorm();
  const Matrix basis = leading(m, rank);
  const double found = (m - m * basis.transpose() * basis).squaredNorm();
  EXPECT_LE(found, best * (1 + 1e-6) + 1e-12 * m.squaredNorm())
      << m.rows() << " x " << m.cols() << ", rank " << rank;
}

TEST(SymmetricEigen, OfATwoByTwoMatrixIsWhatTheFormulaSays) {
  Matrix a(2, 2);
  a << 2, 1, 1, 2;
  const Eigenpairs pairs = eigen(a);
  EXPECT_NEAR(pairs.values(0), 3, 1e-15);
  EXPECT_NEAR(pairs.values(1), 1, 1e-15);
  EXPECT_NEAR(std::abs(pairs.vectors(0, 0)), std::sqrt(0.5), 1e-15);
  EXPECT_NEAR(pairs.vectors(0, 0), pairs.vectors(0, 1), 1e-15);
}

TEST(SymmetricEigen, DiagonalisesWhateverIsSymmetric) {
  for (Index n : {1, 2, 3, 8, 41, 97}) {
    std::vector<Matrix> matrices = {Matrix::Zero(n, n), Matrix::Identity(n, n),
                                    Matrix::Constant(n, n, 0.5), gaussian(n, n, 1)};
    matrices.back() = (matrices.back() + matrices.back().transpose()).eval();
    matrices.push_back(matrices.back() * 1e-200);  // squares beyond double
    // Eigenvalues 1, 1, .., 2, 2, ..: multiple to the last bit.
    Eigen::VectorXd twice = Eigen::VectorXd::Ones(n);
    twice.head(n / 2).setConstant(2);
    const Eigen::MatrixXd q = orthonormal(n, n, 2);
    Matrix multiple = q * twice.asDiagonal() * q.transpose();
    matrices.push_back((multiple + multiple.transpose()) / 2);
    for (const Matrix& a : matrices) {
      const Eigenpairs pairs = eigen(a);
      const double size = a.cwiseAbs().maxCoeff();
      const auto bound = 1e-14 * static_cast<double>(n);
      EXPECT_LE((pairs.vectors * pairs.vectors.transpose() - Matrix::Identity(n, n))
                    .cwiseAbs()
                    .maxCoeff(),
                bound);
      const Matrix back = pairs.vectors.transpose() * pairs.values.asDiagonal() * pairs.vectors;
      EXPECT_LE((back - a).cwiseAbs().maxCoeff(), bound * size + 1e-300);
      for (Index k = 0; k + 1 < n; ++k) EXPECT_GE(pairs.values(k), pairs.values(k + 1));
    }
  }
}

TEST(SymmetricEigen, EndsOnNumbersThatAreNone) {
  Matrix a = Matrix::Identity(20, 20);
  a(3, 4) = a(4, 3) = std::nan("");
  EXPECT_TRUE(std::isnan(eigen(a).values.sum()));
}

// Eckart & Young: no other subspace of that dimension leaves less.
TEST(LeadingSubspace, LeavesAsLittleAsTheSingularVectorsDo) {
  for (Index rank : {1, 2, 7, 30}) {
    expect_best(gaussian(50, 40, 3), rank);
    expect_best(gaussian(33, 120, 4), rank);
    expect_best(gaussian(40, 10, 5) * gaussian(10, 60, 6), rank);
    // Falling spectrum, over twelve decades.
    Eigen::VectorXd sigma(60);
    for (Index a = 0; a < 60; ++a) sigma(a) = std::pow(10.0, -static_cast<double>(a) / 5);
    expect_best(orthonormal(90, 60, 7) * sigma.asDiagonal() * orthonormal(300, 60, 8).transpose(),
                rank);
  }
  expect_best(gaussian(3, 5, 9), 5);
  expect_best(Matrix::Zero(20, 30), 3);
}

// A softmax that is sharp picks one key a query: singular values are square roots of counts, the
// same many times over, more often than a block has vectors.
TEST(LeadingSubspace, FindsEveryCopyOfAMultipleSingularValue) {
  Matrix picks = Matrix::Zero(300, 200);
  const CounterRandom random(10);
  for (Index i = 0; i < 300; ++i) {
    picks(i, static_cast<Index>(random.below(static_cast<std::uint64_t>(i), 200))) = 1;
  }
  for (Index rank : {1, 5, 20, 60, 110}) expect_best(picks, rank);
  expect_best(Matrix::Identity(150, 150), 40);
}

// What |M|^2 is without its `rank` largest singular values, by the eigenvalues of M^T M.
double least_left(const Matrix& m, Index rank) {
  const Eigen::MatrixXd gram = m.transpose() * m;
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram, Eigen::EigenvaluesOnly);
  return solver.eigenvalues().head(m.cols() - rank).sum();
}

// With far more columns than the vectors that are held: flat spectra, spectra that fall, gaps that
// are narrow at the rank, and values that occur more often than a block has vectors.
TEST(LeadingSubspace, NeedsNoMoreMemoryWhereItNeedsMoreVectors) {
  constexpr Index kColumns = 400;
  Eigen::VectorXd falling(kColumns), close(kColumns);
  for (Index a = 0; a < kColumns; ++a) {
    falling(a) = std::pow(10.0, -static_cast<double>(a) / 40);
    close(a) = 1 - 1e-4 * static_cast<double>(a);
  }
  const Eigen::MatrixXd left = orthonormal(450, kColumns, 12),
                        right = orthonormal(kColumns, kColumns, 13);
  Matrix picks = Matrix::Zero(600, kColumns);
  const CounterRandom random(14);
  for (Index i = 0; i < picks.rows(); ++i) {
    picks(i, static_cast<Index>(random.below(static_cast<std::uint64_t>(i), kColumns))) = 1;
  }
  const std::vector<Matrix> matrices = {
      gaussian(450, kColumns, 15), left * falling.asDiagonal() * right.transpose(),
      left * close.asDiagonal() * right.transpose(), picks, Matrix::Identity(kColumns, kColumns)};
  for (size_t n = 0; n < matrices.size(); ++n) {
    const Matrix& m = matrices[n];
    for (Index rank : {1, 5, 30, 60}) {
      const Matrix basis = leading(m, rank);
      const double left_over = (m - m * basis.transpose() * basis).squaredNorm();
      EXPECT_LE(left_over, least_left(m, rank) * (1 + 1e-6) + 1e-12 * m.squaredNorm())
          << "matrix " << n << ", rank " << rank;
    }
  }
}

TEST(LeadingSubspace, EndsOnNumbersThatAreNone) {
  Matrix m = gaussian(300, 300, 16);
  m(7, 200) = std::nan("");
  Matrix basis(3, 300);
  Context context(1);
  leading_right_vectors({m.data(), static_cast<size_t>(m.size())}, 300, 300, 3,
                        {basis.data(), static_cast<size_t>(basis.size())}, context);
  EXPECT_TRUE(std::isnan(basis.sum()));
}

TEST(LeadingSubspace, GivesTheSameBitsForAnyNumberOfThreads) {
  const Matrix m = gaussian(70, 64, 11);
  EXPECT_EQ(leading(m, 9), leading(m, 9, 3));
}

}  // namespace
}  // namespace longattn
