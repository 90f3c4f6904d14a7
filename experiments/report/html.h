#pragma once

#include <string>
#include <vector>

#include "experiments/report/layout.h"
#include "experiments/report/plots.h"

namespace longattn {

/// What the page shows beside the results themselves.
struct PageParts {
  std::vector<Block> blocks;
  std::vector<Plot> plots;
  std::string no_plots;  ///< why there are none; empty when they were drawn
  std::string csv;       ///< offered for download
};

/// The whole report.html: one file that opens from disk, loads nothing, reads without scripts, in
/// light and dark, on paper and on a phone. Every text of the user is escaped.
std::string report_page(const RunResults& results, const PageParts& parts);

}  // namespace longattn
