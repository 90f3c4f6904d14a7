#pragma once

#include <string>
#include <vector>

#include "experiments/report/layout.h"

namespace longattn {

/// What the numbers of one block say, one plain sentence each: what is fastest at the longest
/// length, memory, growth, what each approximation loses against `mean_value` and `zero`, whether
/// the exact variants are exact. A difference is claimed only where 95 % intervals do not overlap.
std::vector<std::string> findings(const Block& block);

/// "3 of 24 cells have no result: 1 oom, 2 timeout." Empty when all are ok.
std::string failures_sentence(const RunResults& results);

}  // namespace longattn
