#pragma once

#include <string>
#include <vector>

#include "experiments/report/page_part.h"
#include "experiments/report/plots.h"

namespace longattn {

/// What the page shows beside the results themselves.
struct PageParts {
  PagePart part;
  std::vector<Plot> plots;
  std::string no_plots;  ///< why there are none; empty when they were drawn
  std::string csv;       ///< offered for download, where the page shows the whole run
};

/// The whole report.html: one file that opens from disk, loads nothing, reads without scripts, in
/// light and dark, on paper and on a phone. Every text of the user is escaped. Of a run too large
/// to show (page_part.h) it says what it shows, and leaves the rest to the files beside it.
std::string report_page(const RunResults& results, const PageParts& parts);

}  // namespace longattn
