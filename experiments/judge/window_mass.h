#pragma once

#include <Eigen/Core>
#include <vector>

#include "core/types.h"

namespace longattn {

/// Windows in tokens on each side, ascending: every one up to 16, eight per doubling beyond, the
/// last one at least key_len - 1. kMassWindows are among them as far as they reach.
std::vector<Index> window_grid(Index key_len);

/// For each window w of an ascending grid, the sum of weights(j) with |j - position| <= w.
/// O(weights + windows).
std::vector<double> masses_within(const Eigen::VectorXd& weights, Index position,
                                  const std::vector<Index>& windows);

}  // namespace longattn
