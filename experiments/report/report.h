#pragma once

#include <cstdio>
#include <string>

#include "experiments/cell.h"

namespace longattn {

/// Prints what a researcher reads first: one block per input and problem, one row per variant and
/// length, then the findings in sentences. At most 100 columns, UTF-8, never a control code, the
/// same bytes in a pipe and on a terminal and under any locale. Throws IoError when writing fails.
void print_table(const RunResults& results, std::FILE* out);

/// Writes `results.csv`, `scaling.csv`, `plots/*.{dat,gp,svg,pdf}` and `report.html` (which needs
/// no other file) into `folder`, which must exist. Each file is complete or absent: written beside,
/// then renamed. Throws IoError when a file cannot be written, or when gnuplot is missing, fails or
/// takes too long; then the CSV and the page are written all the same, and the page says why it has
/// no plots. About 0.2 s a plot.
void write_report(const RunResults& results, const std::string& folder);

}  // namespace longattn
