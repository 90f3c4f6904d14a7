#pragma once

#include <cstdio>
#include <string>

#include "experiments/cell.h"

namespace longattn {

/// Prints what a researcher reads first: one block per input and problem, one row per variant and
/// length, then the findings in sentences. At most 100 columns, UTF-8, never a control code, the
/// same bytes in a pipe and on a terminal and under any locale. Throws IoError when writing fails.
void print_table(const RunResults& results, std::FILE* out);

/// Writes into `folder`, which must exist: report.html (which needs no other file), the same
/// figures for programs (results.csv and results.jsonl, one row per cell; samples.csv, one per
/// round; inputs.csv, one per input; scaling.csv, exponents) and for papers (results.md,
/// results.tex), and plots/*.{svg,pdf} with the script and the data of each. Each file is complete
/// or absent: written beside, then renamed. Throws IoError when a file cannot be written, or when
/// gnuplot is missing, fails or takes too long; then everything but the plots is written all the
/// same, and the page says why it has none. About 0.2 s a plot.
void write_report(const RunResults& results, const std::string& folder);

}  // namespace longattn
