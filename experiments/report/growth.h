#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/judge/scaling.h"
#include "experiments/report/csv.h"
#include "experiments/report/findings.h"
#include "experiments/report/layout.h"

namespace longattn {

/// How one cost of a series grows with the length, and what its variant declares.
struct MeasuredGrowth {
  Scaling scaling;
  std::optional<double> declared;
  /// undecided where nothing is declared.
  GrowthVerdict verdict = GrowthVerdict::undecided;
};
struct SeriesGrowth {
  const Series* series;
  MeasuredGrowth time, workspace;
};
/// Whether lengths were enough for one of them.
bool is_fitted(const SeriesGrowth& growth);
std::vector<SeriesGrowth> growths(const Block& block);

/// A table with one row per series of a block: exponents and verdicts, for a terminal and for the
/// page; empty where no series has lengths enough for one.
std::string growth_text(const Block& block);
std::string growth_html(const Block& block);

/// What grows faster than declared, what is undecided and that the rest holds; or why nothing is
/// fitted. Nothing where there is one length only.
std::vector<Finding> growth_findings(const Block& block);

/// scaling.csv: for each series and cost a row for the slope over all lengths, one for the last two
/// doublings, which alone has a verdict, and one for each step between neighbours.
ResultTable scaling_table(const RunResults& results);

}  // namespace longattn
