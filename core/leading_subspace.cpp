#include "core/leading_subspace.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

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

class Krylov {
 public:
  Krylov(std::span<const double> matrix, Index rows, Index columns, Index rank, Context& context)
      : matrix_(matrix.data()), rows_(rows), n_(columns), rank_(rank), context_(context) {
    Workspace& workspace = context.workspace();
    q_ = workspace.take<double*>(n_);
    z_ = workspace.take<double*>(n_);
    t_ = workspace.take<double*>(n_);
    partial_ = workspace.take<double>(kChunks * kBlock * n_);
    confirmed_ = workspace.take<double>(rank_);
  }

  static Index bytes(Index n, Index rank) {
    const Index blocks = (n + kBlock - 1) / kBlock;
    return 3 * Workspace::bytes_for<double*>(n) +
           Workspace::bytes_for<double>(kChunks * kBlock * n) + Workspace::bytes_for<double>(rank) +
           blocks * 3 * Workspace::bytes_for<double>(kBlock * n) + ritz_bytes(n);
  }

  void run(std::span<double> basis) {
    bool random = true, confirming = false;
    Index next_check = std::min(n_, rank_ + 2 * kBlock);
    while (true) {
      add_block(random);
      random = false;
      if (count_ < next_check) continue;
      const Workspace::Scope scope(context_.workspace());
      const Ritz ritz(*this);
      if (count_ == n_ || (ritz.converged && confirming && unchanged(ritz))) {
        combine(ritz, basis);
        return;
      }
      next_check = std::min(n_, std::max(count_ + 4 * kBlock, count_ + count_ / 5));
      if (!ritz.converged) continue;
      std::copy_n(ritz.values.data(), rank_, confirmed_.data());
      confirming = random = true;
      next_check = std::min(n_, count_ + kBlocksToConfirm * kBlock);
    }
  }

 private:
  // Rayleigh-Ritz on the vectors so far: eigenpairs of Q M^T M Q^T.
  struct Ritz {
    explicit Ritz(const Krylov& of) {
      const Index m = of.count_;
      Workspace& workspace = of.context_.workspace();
      const auto matrix = workspace.take<double>(m * m);
      vectors = workspace.take<double>(m * m);
      values = workspace.take<double>(m);
      const auto scratch = workspace.take<double>(2 * m);
      for (Index i = 0; i < m; ++i) {
        for (Index j = 0; j <= i; ++j) {
          matrix[static_cast<size_t>(i * m + j)] = matrix[static_cast<size_t>(j * m + i)] =
              of.t_[static_cast<size_t>(i)][j];
        }
      }
      symmetric_eigen(m, matrix, vectors, values, scratch);
      const auto residual = workspace.take<double>(of.n_);
      converged = true;
      for (Index a = 0; a < of.rank_ && converged; ++a) {
        const double bound =
            kRelative * std::abs(values[static_cast<size_t>(a)]) + kAbsolute * std::abs(values[0]);
        converged = of.residual(vectors.data() + a * m, values[static_cast<size_t>(a)],
                                residual.data()) <= bound;
      }
    }
    std::span<double> vectors, values;
    bool converged;
  };
  static Index ritz_bytes(Index n) {
    return 2 * Workspace::bytes_for<double>(n * n) + 2 * Workspace::bytes_for<double>(n) +
           Workspace::bytes_for<double>(2 * n);
  }

  Vector vector(double* data) const { return Vector(data, n_); }

  void add_block(bool random) {
    const Index first = count_, size = std::min(kBlock, n_ - first);
    Workspace& workspace = context_.workspace();
    double* q = workspace.take<double>(kBlock * n_).data();
    double* z = workspace.take<double>(kBlock * n_).data();
    double* t = workspace.take<double>(kBlock * n_).data();
    for (Index k = 0; k < size; ++k, ++count_) {
      const auto at = static_cast<size_t>(first + k);
      q_[at] = q + k * n_;
      z_[at] = z + k * n_;
      t_[at] = t + k * n_;
      // The next power of M^T M on the block before, or numbers that know nothing of it.
      double length = 0;
      if (!random && first >= kBlock) {
        vector(q_[at]) = vector(z_[at - kBlock]);
        length = vector(q_[at]).norm();
      }
      while (!orthogonalise(q_[at], length)) {
        draw(q_[at]);
        length = vector(q_[at]).norm();
      }
    }
    multiply(first, size);
    for (Index i = first; i < count_; ++i) {
      for (Index j = 0; j <= i; ++j) {
        t_[static_cast<size_t>(i)][j] =
            vector(q_[static_cast<size_t>(j)]).dot(vector(z_[static_cast<size_t>(i)]));
      }
    }
  }

  // Makes v a unit vector at right angles to all before; false if nothing of it is left (then all
  // of its digits are rounding).
  bool orthogonalise(double* v, double length) const {
    if (!(length > 0)) return std::isnan(length);  // a matrix with NaN must not stop here forever
    for (int pass = 0; pass < 3; ++pass) {
      for (Index j = 0; j < count_; ++j) {
        const Vector q = vector(q_[static_cast<size_t>(j)]);
        vector(v) -= q.dot(vector(v)) * q;
      }
      const double left = vector(v).norm();
      if (std::isnan(left)) return true;
      if (!(left > 1e-10 * length)) return false;
      vector(v) /= left;
      length = 1;
    }
    return true;
  }

  void draw(double* v) {
    const CounterRandom random(kSeed);
    for (Index c = 0; c < n_; ++c) v[c] = random.normal(drawn_++);
  }

  // z = M^T M q for the newest vectors, one sweep over M.
  void multiply(Index first, Index size) {
    context_.arena().for_each(kChunks, [&](Index chunk, int) {
      double* sums = partial_.data() + chunk * kBlock * n_;
      std::fill_n(sums, kBlock * n_, 0.0);
      for (Index i = chunk * rows_ / kChunks; i < (chunk + 1) * rows_ / kChunks; ++i) {
        const ConstVector row(matrix_ + i * n_, n_);
        for (Index k = 0; k < size; ++k) {
          const double product = row.dot(vector(q_[static_cast<size_t>(first + k)]));
          vector(sums + k * n_) += product * row;
        }
      }
    });
    for (Index k = 0; k < size; ++k) {
      Vector z = vector(z_[static_cast<size_t>(first + k)]);
      z.setZero();
      for (Index chunk = 0; chunk < kChunks; ++chunk) {
        z += vector(partial_.data() + (chunk * kBlock + k) * n_);
      }
    }
  }

  // |M^T M v - value v| for v = sum_i coefficients_i q_i.
  double residual(const double* coefficients, double value, double* buffer) const {
    Vector sum = vector(buffer);
    sum.setZero();
    for (Index i = 0; i < count_; ++i) {
      sum += coefficients[i] *
             (vector(z_[static_cast<size_t>(i)]) - value * vector(q_[static_cast<size_t>(i)]));
    }
    return sum.norm();
  }

  bool unchanged(const Ritz& ritz) const {
    for (size_t a = 0; a < confirmed_.size(); ++a) {
      const double bound = kRelative * confirmed_[a] + kAbsolute * confirmed_[0];
      if (!(std::abs(ritz.values[a] - confirmed_[a]) <= bound)) return false;
    }
    return true;
  }

  void combine(const Ritz& ritz, std::span<double> basis) const {
    for (Index a = 0; a < rank_; ++a) {
      Vector v = vector(basis.data() + a * n_);
      v.setZero();
      for (Index i = 0; i < count_; ++i) {
        v += ritz.vectors[static_cast<size_t>(a * count_ + i)] * vector(q_[static_cast<size_t>(i)]);
      }
    }
  }

  static constexpr std::uint64_t kSeed = 1936;

  const double* const matrix_;
  const Index rows_, n_, rank_;
  Context& context_;
  Index count_ = 0;               // vectors so far
  std::span<double*> q_, z_, t_;  // of each: itself, M^T M of it, products with those before
  std::span<double> partial_, confirmed_;
  std::uint64_t drawn_ = 0;
};

}  // namespace

void leading_right_vectors(std::span<const double> matrix, Index rows, Index columns, Index rank,
                           std::span<double> basis, Context& context) {
  const Workspace::Scope scope(context.workspace());
  Krylov(matrix, rows, columns, rank, context).run(basis);
}

Index leading_workspace_bytes(Index columns, Index rank) { return Krylov::bytes(columns, rank); }

}  // namespace longattn
