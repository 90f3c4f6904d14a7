#pragma once

#include <string>
#include <vector>

#include "experiments/report/layout.h"
#include "experiments/report/plots.h"

namespace longattn {

/// What is written to disk for one figure. Text of the user goes into `data` alone.
struct Figure {
  Plot plot;
  std::string name;                 ///< of its files: "time", or "time-2"
  std::string data;                 ///< sections between blank lines, fields between tabs
  std::string axes;                 ///< gnuplot settings
  std::string curves;               ///< elements of gnuplot's plot command
  std::vector<std::string> labels;  ///< in the key
  int sections = 0;                 ///< of the data
};

/// Adds one section to the data file, a header of user text (optional) above rows of numbers;
/// returns its number.
int add_section(Figure& figure, const std::string& header, const std::string& rows);

/// The figure of this kind for a block (its first section is the title); nothing to draw: no
/// curves.
Figure make_figure(const Block& block, Plot::Kind kind, const std::string& name);

}  // namespace longattn
