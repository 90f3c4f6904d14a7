#pragma once

#include <string>

#include "experiments/report/layout.h"

namespace longattn {

/// One row per cell of a block; figures rounded for reading, full precision in `title`.
std::string summary_table(const Block& block);
/// What the errors of a block's approximations are made of, one row each; empty when it has none.
std::string error_table(const Block& block);
/// Every cell that is not ok, with its reason and the end of what it said; empty when there is
/// none. Or not `all` of many: the first of each variant, input and status, and a sentence on it.
std::string failure_table(const RunResults& results, bool all);
/// For every cell the command that measures it alone.
std::string command_table(const RunResults& results);
/// Name and value, one row each.
std::string provenance_table(const Provenance& provenance);

}  // namespace longattn
