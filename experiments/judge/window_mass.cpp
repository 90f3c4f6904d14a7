#include "experiments/judge/window_mass.h"

#include <cmath>

namespace longattn {

std::vector<Index> window_grid(Index key_len) {
  constexpr Index kEvery = 16;
  std::vector<Index> windows;
  for (Index w = 0; w <= kEvery; ++w) windows.push_back(w);
  for (int n = 1; windows.back() < key_len - 1; ++n) {
    windows.push_back(std::llround(static_cast<double>(kEvery) * std::exp2(n / 8.0)));
  }
  return windows;
}

std::vector<double> masses_within(const Eigen::VectorXd& weights, Index position,
                                  const std::vector<Index>& windows) {
  const auto weight = [&](Index j) { return j >= 0 && j < weights.size() ? weights(j) : 0.0; };
  const Index farthest = std::max(std::abs(position), std::abs(weights.size() - 1 - position));
  std::vector<double> masses;
  double mass = weight(position);
  Index reached = 0;
  for (const Index window : windows) {
    while (reached < std::min(window, farthest)) {
      ++reached;
      mass += weight(position - reached) + weight(position + reached);
    }
    masses.push_back(mass);
  }
  return masses;
}

}  // namespace longattn
