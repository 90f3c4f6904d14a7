#pragma once

#include <string>
#include <vector>

#include "experiments/report/layout.h"

namespace longattn {

/// One plain sentence. An alarm is what a reader must not miss: an approximation that is no better
/// than the mean of V, a cost that grows faster than declared.
struct Finding {
  std::string text;
  bool alarm = false;
};

/// What the numbers of one block say: what is useless; what is fastest at the longest length, and
/// the cheapest within an error; from which length on each is faster than full attention; memory,
/// growth, the Pareto front; whether the exact variants are exact. A difference is claimed only
/// where 95 % intervals do not overlap.
std::vector<Finding> findings(const Block& block);

/// "3 of 24 cells have no result: 1 oom, 2 timeout." Empty when all are ok.
std::string failures_sentence(const RunResults& results);

}  // namespace longattn
