#pragma once

#include <span>
#include <string>
#include <vector>

#include "experiments/report/gnuplot.h"
#include "experiments/report/layout.h"
#include "experiments/report/looks.h"

namespace longattn {

// The picture, in pixels of its SVG: a plot between margins.
inline constexpr int kPictureWidth = 570, kPictureHeight = 410;
inline constexpr int kMarginLeft = 96, kMarginRight = 46, kMarginTop = 16, kMarginBottom = 62;
inline constexpr int kPlotWidth = kPictureWidth - kMarginLeft - kMarginRight;
inline constexpr int kPlotHeight = kPictureHeight - kMarginTop - kMarginBottom;

/// One drawn figure.
struct Plot {
  enum class Kind { time, workspace, error_length, error, budget, pareto, heads };
  struct KeyEntry {
    size_t number;
    std::string label;
    Look look;
    bool open;  ///< it has no filled marker in this figure
  };
  Kind kind = Kind::time;
  size_t block = 0;           ///< number of the block it shows
  std::vector<KeyEntry> key;  ///< in the order in which the curves end, from above
  InlineSvg svg;              ///< for the page, without its key
  std::string caption;        ///< what it shows, one paragraph of text
};

/// Draws, per block, time, workspace and error against length; at the longest length error against
/// time, against keys per query and in each head; and who is on the Pareto front at each length; as
/// far as anything was measured: writes `<folder>/plots/<name>.{svg,pdf,gp,tsv}`, where the name is
/// time, workspace, error-length, error, error-budget, error-heads or pareto, and a number when
/// there are several blocks. Scripts hold numbers only; every text of the
/// user is in the data file. Of more than kCurves series a part is drawn (page_part.h), and the
/// caption says which part of how many. Files appear complete or not at all. Throws IoError
/// (run_gnuplot, or a file that cannot be written). About 0.2 s each.
std::vector<Plot> draw_plots(std::span<const Block> blocks, const std::string& folder);

}  // namespace longattn
