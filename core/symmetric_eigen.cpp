#include "core/symmetric_eigen.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>

namespace longattn {
namespace {

using Vector = Eigen::Map<Eigen::VectorXd>;

// A of order n, row by row; Z of the same shape; T has diagonal d and off-diagonal e.
struct Reduction {
  Index n;
  double *a, *z, *d, *e, *factor;

  Vector row(double* matrix, Index r, Index from) const {
    return Vector(matrix + r * n + from, n - from);
  }

  // A = Q T Q^T with Q a product of reflections I - factor v v^T. The vector of step k stays in row
  // k of A, right of the diagonal.
  void reduce() {
    for (Index k = 0; k < n; ++k) {
      d[k] = a[k * n + k];
      factor[k] = 0;
      e[k] = k + 1 < n ? a[k * n + k + 1] : 0;
      if (k + 2 >= n) continue;
      Vector v = row(a, k, k + 1);
      const double norm = v.norm();
      if (v.tail(v.size() - 1).squaredNorm() == 0) continue;
      e[k] = v(0) > 0 ? -norm : norm;
      v(0) -= e[k];
      factor[k] = 2 / v.squaredNorm();
      // p = factor A v, w = p - factor (p . v) / 2 v, A -= v w^T + w v^T.
      Vector w = row(z, 0, k + 1);
      for (Index i = 0; i < w.size(); ++i) {
        w(i) = factor[k] * row(a, k + 1 + i, k + 1).dot(v);
      }
      w -= factor[k] / 2 * w.dot(v) * v;
      for (Index i = 0; i < w.size(); ++i) row(a, k + 1 + i, k + 1) -= v(i) * w + w(i) * v;
    }
  }

  // Z = Q^T, so that rotations of columns of Q are rotations of whole rows.
  void gather() {
    std::fill_n(z, n * n, 0.0);
    for (Index k = 0; k < n; ++k) z[k * n + k] = 1;
    for (Index k = n - 3; k >= 0; --k) {
      if (factor[k] == 0) continue;
      const Vector v = row(a, k, k + 1);
      for (Index r = k + 1; r < n; ++r) {
        Vector z_row = row(z, r, k + 1);
        z_row -= factor[k] * z_row.dot(v) * v;
      }
    }
  }

  // End of the unreduced block that starts at `first`: where the off-diagonal is negligible.
  Index block_end(Index first) const {
    Index last = first;
    while (last + 1 < n &&
           !(std::abs(e[last]) <= std::numeric_limits<double>::epsilon() *
                                      (std::abs(d[last]) + std::abs(d[last + 1])))) {
      ++last;
    }
    return last;
  }

  // One implicit QL step on rows first .. last, with Wilkinson's shift.
  void step(Index first, Index last) {
    const double half = (d[first + 1] - d[first]) / (2 * e[first]);
    const double shift = e[first] / (half + std::copysign(std::hypot(half, 1.0), half));
    double g = d[last] - d[first] + shift, sine = 1, cosine = 1, moved = 0;
    for (Index i = last - 1; i >= first; --i) {
      const double f = sine * e[i], b = cosine * e[i];
      const double r = std::hypot(f, g);
      e[i + 1] = r;
      if (r == 0) {  // the block falls apart by itself
        d[i + 1] -= moved;
        e[last] = 0;
        return;
      }
      sine = f / r;
      cosine = g / r;
      g = d[i + 1] - moved;
      const double turned = (d[i] - g) * sine + 2 * cosine * b;
      moved = sine * turned;
      d[i + 1] = g + moved;
      g = cosine * turned - b;
      rotate(i, sine, cosine);
    }
    d[first] -= moved;
    e[first] = g;
    e[last] = 0;
  }

  void rotate(Index i, double sine, double cosine) {
    double* upper = z + i * n;
    double* lower = upper + n;
    for (Index c = 0; c < n; ++c) {
      const double x = upper[c], y = lower[c];
      upper[c] = cosine * x - sine * y;
      lower[c] = sine * x + cosine * y;
    }
  }

  void diagonalise() {
    constexpr int kMostSteps = 64;  // two or three are usual
    for (Index first = 0; first < n; ++first) {
      for (int steps = 0; steps < kMostSteps; ++steps) {
        const Index last = block_end(first);
        if (last == first) break;
        step(first, last);
      }
    }
  }

  void sort() {
    for (Index k = 0; k < n; ++k) {
      const Index largest = std::max_element(d + k, d + n) - d;
      if (largest == k) continue;
      std::swap(d[k], d[largest]);
      std::swap_ranges(z + k * n, z + (k + 1) * n, z + largest * n);
    }
  }
};

}  // namespace

void symmetric_eigen(Index n, std::span<double> matrix, std::span<double> vectors,
                     std::span<double> values, std::span<double> scratch) {
  // By a power of two to elements of at most 1, so that no square is lost.
  double largest = 0;
  for (double element : matrix) largest = std::max(largest, std::abs(element));
  int exponent = 0;
  std::frexp(largest, &exponent);
  for (double& element : matrix) element = std::ldexp(element, -exponent);
  Reduction reduction{
      n, matrix.data(), vectors.data(), values.data(), scratch.data(), scratch.data() + n};
  reduction.reduce();
  reduction.gather();
  reduction.diagonalise();
  reduction.sort();
  for (double& value : values) value = std::ldexp(value, exponent);
}

}  // namespace longattn
