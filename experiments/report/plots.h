#pragma once

#include <string>
#include <vector>

#include "experiments/report/layout.h"

namespace longattn {

/// One drawn figure.
struct Plot {
  enum class Kind { time, workspace, error };
  Kind kind = Kind::time;
  size_t block = 0;     ///< number of the block it shows
  std::string svg;      ///< for the page: see inline_svg()
  std::string caption;  ///< what it shows, one paragraph of text
};

/// Draws, per block, time and workspace against length and error against cost at the longest
/// length, as far as anything was measured: writes `<folder>/plots/<name>.{dat,gp,svg,pdf}`, where
/// the name is time, workspace or error, and a number when there are several blocks. Scripts hold
/// numbers only; every text of the user is in the data file. Files appear complete or not at all.
/// Throws IoError (run_gnuplot, or a file that cannot be written). About 0.2 s each.
std::vector<Plot> draw_plots(const std::vector<Block>& blocks, const std::string& folder);

}  // namespace longattn
