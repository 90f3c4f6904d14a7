#include "core/leading_subspace.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/random.h"
#include "core/symmetric_eigen.h"

namespace longattn {
namespace {

using Vector = Eigen::Map<Eigen::VectorXd>;
using ConstVector = Eigen::Map<const Eigen::VectorXd>;

constexpr Index kBlock = 8;   // vectors added at a time
constexpr Index kChunks = 8;  // of the rows of M, summed in fixed order
constexpr Index kBlocksToConfirm = 6;
constexpr double kRelative = 1e-6, kAbsolute = 1e-13;
constexpr Index kMostSweeps = 4;  // as many times the vectors of a whole decomposition

class Krylov {
 public:
  Krylov(std::span<const double> matrix, Index rows, Index columns, Index rank, Context& context)
      : matrix_(matrix.data()),
        rows_(rows),
        n_(columns),
        rank_(rank),
        capacity_(capacity(columns, rank)),
        context_(context) {
    Workspace& workspace = context.workspace();
    q_ = workspace.take<double>(capacity_ * n_);
    z_ = workspace.take<double>(capacity_ * n_);
    t_ = workspace.take<double>(capacity_ * capacity_);
    ritz_matrix_ = workspace.take<double>(capacity_ * capacity_);
    ritz_vectors_ = workspace.take<double>(capacity_ * capacity_);
    ritz_values_ = workspace.take<double>(capacity_);
    eigen_scratch_ = workspace.take<double>(2 * capacity_);
    partial_ = workspace.take<double>(kChunks * kBlock * n_);
    residual_ = workspace.take<double>(n_);
    confirmed_ = workspace.take<double>(rank_);
  }

  static Index bytes(Index n, Index rank) {
    const Index m = capacity(n, rank);
    return 2 * Workspace::bytes_for<double>(m * n) + 3 * Workspace::bytes_for<double>(m * m) +
           Workspace::bytes_for<double>(m) + Workspace::bytes_for<double>(2 * m) +
           Workspace::bytes_for<double>(kChunks * kBlock * n) + Workspace::bytes_for<double>(n) +
           Workspace::bytes_for<double>(rank);
  }

  // Vectors held at a time: all, or whole blocks.
  static Index capacity(Index n, Index rank) {
    return std::min(n, (rank / (kBlock / 4) + 8) * kBlock);
  }

  void run(std::span<double> basis) {
    bool random = true, confirming = false;
    Index next_check = std::min(n_, rank_ + 2 * kBlock);
    while (true) {
      add_block(random);
      random = false;
      const bool due = count_ >= next_check, full = count_ == capacity_;
      if (!due && !full) continue;
      const bool converged = find_ritz_pairs();
      const bool confirmed = due && converged && confirming && unchanged();
      if (confirmed || count_ == n_ || drawn_out()) {
        combine(rank_, q_.data(), 0, n_, basis.data());
        return;
      }
      if (due) {
        next_check = std::max(count_ + 4 * kBlock, count_ + count_ / 5);
        if (converged) {
          std::copy_n(ritz_values_.data(), rank_, confirmed_.data());
          confirming = random = true;
          next_check = count_ + kBlocksToConfirm * kBlock;
        }
      }
      if (full) next_check -= restart();
    }
  }

 private:
  Vector vector(double* data) const { return Vector(data, n_); }
  Vector q(Index i) const { return vector(q_.data() + i * n_); }
  Vector z(Index i) const { return vector(z_.data() + i * n_); }
  double& t(Index i, Index j) const { return t_[static_cast<size_t>(i * capacity_ + j)]; }

  // Rayleigh-Ritz on the vectors so far: eigenpairs of Q M^T M Q^T. Whether the first have
  // converged.
  bool find_ritz_pairs() {
    const Index m = count_;
    const auto cells = static_cast<size_t>(m * m);
    for (Index i = 0; i < m; ++i) {
      for (Index j = 0; j <= i; ++j) {
        ritz_matrix_[static_cast<size_t>(i * m + j)] =
            ritz_matrix_[static_cast<size_t>(j * m + i)] = t(i, j);
      }
    }
    const auto values = ritz_values_.first(static_cast<size_t>(m));
    symmetric_eigen(m, ritz_matrix_.first(cells), ritz_vectors_.first(cells), values,
                    eigen_scratch_);
    for (Index a = 0; a < rank_; ++a) {
      const double value = values[static_cast<size_t>(a)];
      const double bound = kRelative * std::abs(value) + kAbsolute * std::abs(values[0]);
      if (!(residual(ritz_vectors_.data() + a * m, value) <= bound)) return false;
    }
    return true;
  }

  // Nothing comes of more: numbers that are none, or a spectrum too dense to be told apart.
  bool drawn_out() const {
    const double* values = ritz_values_.data();
    return multiplied_ >= kMostSweeps * n_ ||
           std::isnan(std::accumulate(values, values + count_, 0.0));
  }

  // A thick restart (Wu & Simon 2000): the leading Ritz vectors take the place of all; returns how
  // many vectors fewer there are. Residuals of Ritz vectors span what the next block would have
  // been, and M^T M times the last of them, at right angles to all, is such a residual: add_block
  // goes on as before.
  Index restart() {
    const Index kept = (rank_ + (count_ - rank_) / 3) / kBlock * kBlock;
    const Index step = static_cast<Index>(partial_.size()) / kept;
    for (double* vectors : {q_.data(), z_.data()}) {
      for (Index first = 0; first < n_; first += step) {
        const Index width = std::min(step, n_ - first);
        combine(kept, vectors, first, width, partial_.data());
        for (Index a = 0; a < kept; ++a) {
          std::copy_n(partial_.data() + a * width, width, vectors + a * n_ + first);
        }
      }
    }
    for (Index i = 0; i < kept; ++i) {
      for (Index j = 0; j <= i; ++j) t(i, j) = i == j ? ritz_values_[static_cast<size_t>(i)] : 0;
    }
    const Index given_up = count_ - kept;
    count_ = kept;
    return given_up;
  }

  // What the Ritz vectors a < wanted make of columns [first, first + width) of q or z, row by row.
  void combine(Index wanted, const double* vectors, Index first, Index width, double* to) const {
    for (Index a = 0; a < wanted; ++a) {
      Vector sum(to + a * width, width);
      sum.setZero();
      for (Index i = 0; i < count_; ++i) {
        sum += ritz_vectors_[static_cast<size_t>(a * count_ + i)] *
               ConstVector(vectors + i * n_ + first, width);
      }
    }
  }

  void add_block(bool random) {
    const Index first = count_, size = std::min(kBlock, n_ - first);
    for (; count_ < first + size; ++count_) {
      // The next power of M^T M on the block before, or numbers that know nothing of it.
      Vector next = q(count_);
      double length = 0;
      if (!random && first >= kBlock) {
        next = z(count_ - kBlock);
        length = next.norm();
      }
      while (!orthogonalise(next, length)) {
        draw(next);
        length = next.norm();
      }
    }
    multiply(first, size);
    for (Index i = first; i < count_; ++i) {
      for (Index j = 0; j <= i; ++j) t(i, j) = q(j).dot(z(i));
    }
  }

  // Makes v a unit vector at right angles to all before; false if nothing of it is left (then all
  // of its digits are rounding).
  bool orthogonalise(Vector& v, double length) const {
    if (!(length > 0)) return std::isnan(length);  // a matrix with NaN must not stop here forever
    for (int pass = 0; pass < 3; ++pass) {
      for (Index j = 0; j < count_; ++j) v -= q(j).dot(v) * q(j);
      const double left = v.norm();
      if (std::isnan(left)) return true;
      if (!(left > 1e-10 * length)) return false;
      v /= left;
      length = 1;
    }
    return true;
  }

  void draw(Vector& v) {
    const CounterRandom random(kSeed);
    for (Index c = 0; c < n_; ++c) v(c) = random.normal(drawn_++);
  }

  // z = M^T M q for the newest vectors, one sweep over M.
  void multiply(Index first, Index size) {
    context_.arena().for_each(kChunks, [&](Index chunk, int) {
      double* sums = partial_.data() + chunk * kBlock * n_;
      std::fill_n(sums, kBlock * n_, 0.0);
      for (Index i = chunk * rows_ / kChunks; i < (chunk + 1) * rows_ / kChunks; ++i) {
        const ConstVector row(matrix_ + i * n_, n_);
        for (Index k = 0; k < size; ++k) {
          const double product = row.dot(q(first + k));
          vector(sums + k * n_) += product * row;
        }
      }
    });
    for (Index k = 0; k < size; ++k) {
      Vector sum = z(first + k);
      sum.setZero();
      for (Index chunk = 0; chunk < kChunks; ++chunk) {
        sum += vector(partial_.data() + (chunk * kBlock + k) * n_);
      }
    }
    multiplied_ += size;
  }

  // |M^T M v - value v| for v = sum_i coefficients_i q_i.
  double residual(const double* coefficients, double value) const {
    Vector sum = vector(residual_.data());
    sum.setZero();
    for (Index i = 0; i < count_; ++i) sum += coefficients[i] * (z(i) - value * q(i));
    return sum.norm();
  }

  bool unchanged() const {
    for (size_t a = 0; a < confirmed_.size(); ++a) {
      const double bound = kRelative * confirmed_[a] + kAbsolute * confirmed_[0];
      if (!(std::abs(ritz_values_[a] - confirmed_[a]) <= bound)) return false;
    }
    return true;
  }

  static constexpr std::uint64_t kSeed = 1936;

  const double* const matrix_;
  const Index rows_, n_, rank_, capacity_;
  Context& context_;
  Index count_ = 0, multiplied_ = 0;  // vectors held, and made so far
  std::span<double> q_, z_;           // [capacity, n]: vectors, and M^T M of each
  std::span<double> t_;               // [capacity, capacity]: q_j . z_i for j <= i
  std::span<double> ritz_matrix_, ritz_vectors_, ritz_values_, eigen_scratch_;
  std::span<double> partial_;  // of sums over chunks; scratch of a restart
  std::span<double> residual_, confirmed_;
  std::uint64_t drawn_ = 0;
};

}  // namespace

void leading_right_vectors(std::span<const double> matrix, Index rows, Index columns, Index rank,
                           std::span<double> basis, Context& context) {
  const Workspace::Scope scope(context.workspace());
  Krylov(matrix, rows, columns, rank, context).run(basis);
}

Index leading_workspace_bytes(Index columns, Index rank) { return Krylov::bytes(columns, rank); }

double leading_flops(Index rows, Index columns, Index rank) {
  const auto m = static_cast<double>(Krylov::capacity(columns, rank));
  const auto height = static_cast<double>(rows), width = static_cast<double>(columns);
  // Products with M and M^T; three passes of orthogonalisation, T and residuals; eigenvectors of T
  // at lengths that grow by a fifth.
  return m * (4 * height * width + 9 * width * m + 20 * m * m);
}

}  // namespace longattn
