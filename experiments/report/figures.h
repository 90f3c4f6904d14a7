#pragma once

#include <string>
#include <vector>

#include "experiments/report/axes.h"
#include "experiments/report/layout.h"
#include "experiments/report/plots.h"

namespace longattn {

/// What is written to disk for one figure. Text of the user goes into `data` alone.
struct Figure {
  Plot plot;
  std::string name;    ///< of its files: "time", or "time-2"
  std::string data;    ///< tab-separated, one header line; see kMarkColumn
  std::string axes;    ///< gnuplot settings
  std::string curves;  ///< elements of gnuplot's plot command; empty: nothing to draw
};

/// The figure of this kind for a block.
Figure make_figure(const Block& block, Plot::Kind kind, const std::string& name);

// What figures are made of.

/// Every data file begins with the columns series (its number), label, input, length, mark
/// ("point", or "open" for an open marker) and x (where the mark stands), and the figures follow.
std::string data_header(const std::string& figures);
/// Fields of one row; nothing where a figure is missing.
std::string data_row(const Block& block, const Series& series, Index length, const char* mark,
                     double x, const std::vector<std::optional<double>>& figures);

/// Adds a curve of the marked rows of a series, and the series to the key when it is not there yet.
/// `columns` follow x: "7:8:9 with yerrorlines".
void add_curve(Figure& figure, const Series& series, const char* mark, const std::string& columns);
/// The same for what has no series.
void add_curve(Figure& figure, const std::string& curve);
/// Adds a series to the key; its place there for gnuplot: "title key(3)", or "notitle".
std::string add_to_key(Figure& figure, const Series& series, bool open = false);
/// A null baseline: a dashed line at its error, across the figure.
void add_null_line(Figure& figure, const Series& series, const Axis& x, double error);
std::string axis_script(const char* name, const Axis& axis, const char* label);
/// The axis of errors; with `any_exact` it has a strip without tics at its lower end, and the
/// figure a label there, for what is exact.
Axis error_axis_for(Figure& figure, const Range& errors, bool any_exact);

/// Where a value stands on a logarithmic axis: 0 at its lower, 1 at its upper end.
double on_axis(const Axis& axis, double value);

/// Time, workspace or error against length, by the kind of the figure's plot.
Figure length_figure(const Block& block, Figure figure);
/// Error against time at the longest length.
Figure trade_off_figure(const Block& block, Figure figure);
/// Error against the keys that a query is scored with, at the longest length.
Figure budget_figure(const Block& block, Figure figure);
/// What is on the Pareto front of error, time and workspace at each length.
Figure pareto_figure(const Block& block, Figure figure);
/// Error in each head at the longest length.
Figure heads_figure(const Block& block, Figure figure);

}  // namespace longattn
