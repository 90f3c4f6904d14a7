#pragma once

#include <string>
#include <vector>

#include "experiments/report/layout.h"

namespace longattn {

/// results.md: findings, one table per block and the failures, for GitHub and notes.
std::string markdown_report(const RunResults& results, const std::vector<Block>& blocks);

/// results.tex: one table per block for \input in a paper; needs \usepackage{booktabs}. A block of
/// more rows than a page takes is continued in a second table. Failures are named below.
std::string latex_tables(const RunResults& results, const std::vector<Block>& blocks);

}  // namespace longattn
