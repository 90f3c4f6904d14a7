#include "experiments/report/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "experiments/report/axes.h"
#include "experiments/report/gnuplot.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

// Okabe & Ito 2008: distinct for colour-blind readers; yellow, weak on white, comes last. Ink is
// the baseline's and grey that of the null baselines.
constexpr std::array kPalette = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                 "#E69F00", "#56B4E9", "#BBA800"};
// gnuplot's filled point types; each has its open one just before it.
constexpr std::array kMarkers = {7, 5, 9, 13, 11, 15};

struct Look {
  std::string colour;
  int marker = 7, open = 6;
  std::string dash;
};

Look look(const Series& series) {
  Look result;
  result.colour = series.variant == "full"           ? std::string(kInk)
                  : is_null_baseline(series.variant) ? "#999999"
                                                     : kPalette[series.style % kPalette.size()];
  result.marker = kMarkers[series.style % kMarkers.size()];
  result.open = result.marker - 1;
  if (is_null_baseline(series.variant)) result.dash = " dt 2";
  return result;
}

constexpr size_t kLabelWidth = 52;

std::string row(std::initializer_list<double> values) {
  std::string text;
  for (const double value : values) {
    if (!text.empty()) text += '\t';
    text += exact(value);
  }
  return text + "\n";
}

void add_curve(Figure& figure, const std::string& curve) {
  if (!figure.curves.empty()) figure.curves += ", \\\n  ";
  figure.curves += curve;
}

// The curve of one series: section `k` of the data, drawn `with`.
void add_series(Figure& figure, const Series& series, const std::string& rows,
                const std::string& with) {
  const std::string label = shortened(series.label, kLabelWidth);
  // A series without a point still needs its line in the key.
  const int k = add_section(figure, label, rows.empty() ? "NaN\tNaN\tNaN\tNaN\tNaN\tNaN\n" : rows);
  const Look style = look(series);
  figure.labels.push_back(label);
  add_curve(figure, fmt::format("'{}.dat' index {} using {} lc rgb '{}' pt {}{} title "
                                "columnheader(1)",
                                figure.name, k, with, style.colour, style.marker, style.dash));
}

// Failures as open markers at the top edge, one below the other where they share a length.
void add_failures(Figure& figure, const Block& block, const Axis& axis,
                  const std::map<Index, double>& places) {
  std::map<Index, int> stacked;
  const double step = std::pow(axis.high / axis.low, 0.045);
  for (const Series& series : block.series) {
    std::string rows;
    for (const CellResult* result : series.cells) {
      if (result->status == Status::ok) continue;
      const Index length = result->cell.problem.key_len;
      rows += row({places.at(length), axis.high / std::pow(step, 0.7 + stacked[length]++)});
    }
    if (rows.empty()) continue;
    const int k = add_section(figure, "", rows);
    const Look style = look(series);
    add_curve(figure, fmt::format("'{}.dat' index {} using 1:2 with points lc rgb '{}' pt {} "
                                  "notitle",
                                  figure.name, k, style.colour, style.open));
  }
}

// Where each length stands on the x axis of a figure.
std::map<Index, double> length_places(const Block& block) {
  std::map<Index, double> places;
  for (const Index length : block.lengths) places[length] = static_cast<double>(length);
  return places;
}

std::string axis_script(const char* name, const Axis& axis, const char* label) {
  return fmt::format(
      "set {0}label '{3}'\nset logscale {0}\nset {0}range [{1}:{2}]\n"
      "set {0}tics {4}\n",
      name, exact(axis.low), exact(axis.high), label, axis.tics);
}

// Lines of slope 1 and 2 through a point, each with its name where it leaves the figure.
void add_guides(Figure& figure, const Axis& x, const Axis& y, double x0, double y0) {
  for (const int slope : {1, 2}) {
    const double at_top = x0 * std::pow(y.high / y0, 1.0 / slope);
    const double end = std::min(x.high / 1.04, at_top * 0.97);
    const double factor = y0 / std::pow(x0, slope);
    if (end <= x0) continue;
    add_curve(figure, fmt::format("[{}:{}] {} * x**{} with lines lc rgb '#999999' dt 3 lw 1 "
                                  "notitle",
                                  exact(x0), exact(end), exact(factor), slope));
    figure.axes += fmt::format(
        "set label {} '{}' at {}, {} right offset -0.4, 0.3 "
        "textcolor rgb '#888888'\n",
        slope, slope == 1 ? "∝ n" : "∝ n²", exact(end), exact(factor * std::pow(end, slope)));
  }
}

bool any_failure(const Block& block) {
  return std::ranges::any_of(block.series, [](const Series& series) {
    return std::ranges::any_of(series.cells,
                               [](const CellResult* r) { return r->status != Status::ok; });
  });
}

double headroom(const Block& block) { return any_failure(block) ? 8 : 2.5; }

// With one length there is no curve: the series stand side by side instead.
void set_single_length(Figure& figure, const Block& block) {
  figure.axes += fmt::format(
      "set xlabel 'at {} tokens, in the order of the key'\n"
      "set xrange [0:{}]\nunset xtics\n",
      grouped(block.longest()), block.series.size() + 1);
}

using Value = std::optional<Estimate> (*)(const CellResult&);

std::optional<Estimate> time_of(const CellResult& result) { return result.time_s; }
std::optional<Estimate> workspace_of(const CellResult& result) {
  if (!result.workspace_bytes) return std::nullopt;
  const double value = *result.workspace_bytes;
  return Estimate{value, value, value};
}

// A cost against length: time (with intervals) or workspace.
Figure cost_figure(const Block& block, Figure figure, Value value) {
  const bool is_time = figure.plot.kind == Plot::Kind::time;
  Range range;
  for (const Series& series : block.series) {
    for (const CellResult* result : series.cells) {
      if (const auto estimate = value(*result)) {
        range.add(estimate->low);
        range.add(estimate->high);
      }
    }
  }
  if (range.empty()) return figure;
  const Axis y =
      is_time ? time_axis(range, headroom(block)) : bytes_axis(range, 2 * headroom(block));
  const bool single = block.lengths.size() == 1;
  const Axis x = length_axis(block.lengths);
  figure.axes += axis_script("y", y, is_time ? "time of one forward pass" : "workspace");
  if (single) {
    set_single_length(figure, block);
  } else {
    figure.axes += axis_script("x", x, "length (tokens)");
    for (const Series& series : block.series) {  // guides start where the first curve does
      const auto first = value(*series.cells.front());
      if (!first || first->value <= 0 || figure.curves.size() > 0) continue;
      const auto x0 = static_cast<double>(series.cells.front()->cell.problem.key_len);
      add_guides(figure, x, y, x0, first->value);
    }
  }
  std::map<Index, double> places = length_places(block);
  size_t number = 0;
  for (const Series& series : block.series) {
    ++number;
    std::string rows;
    for (const CellResult* result : series.cells) {
      const auto estimate = value(*result);
      if (!estimate) continue;
      const double at =
          single ? static_cast<double>(number) : places.at(result->cell.problem.key_len);
      const auto on_axis = [&](double bound) { return std::max(bound, y.low); };
      rows += row({at, on_axis(estimate->value), on_axis(estimate->low), on_axis(estimate->high)});
    }
    add_series(figure, series, rows, is_time ? "1:2:3:4 with yerrorlines" : "1:2 with linespoints");
    if (single) places[block.longest()] = static_cast<double>(number);
    if (single) add_failures(figure, Block{"", "", {series}, block.lengths}, y, places);
  }
  if (!single) add_failures(figure, block, y, places);
  return figure;
}

// What one series has at the longest length, if it has both a time and an error.
const CellResult* priced(const Block& block, const Series& series) {
  const CellResult* result = at_length(series, block.longest());
  return result != nullptr && result->time_s && result->relative_error ? result : nullptr;
}

// Error against cost: one point per series, at the longest length. An exact variant has no error to
// put on a logarithmic axis: it stands on the floor.
Figure error_figure(const Block& block, Figure figure) {
  Range times, errors, floors;
  for (const Series& series : block.series) {
    if (const CellResult* result = priced(block, series)) {
      for (double value : {result->time_s->low, result->time_s->high}) times.add(value);
      for (double value : {result->relative_error->value, result->relative_error->high}) {
        errors.add(value);
      }
      floors.add(result->relative_error_floor.value_or(0));
    }
  }
  if (times.empty()) return figure;
  const double floor = floors.empty() ? errors.low() : floors.high();
  errors.add(floor);
  errors.add(errors.empty() ? 1 : errors.high());
  const Axis x = time_axis(times, 1.6), y = error_axis(errors, 2.5);
  figure.axes +=
      axis_script("x", x, "time of one forward pass") + axis_script("y", y, "relative error");
  if (!floors.empty()) {
    figure.axes += fmt::format(
        "set object 1 rectangle from graph 0, graph 0 to graph 1, first {0} behind fillcolor rgb "
        "'#999999' fillstyle transparent solid 0.2 noborder\n"
        "set label 1 'float32 rounding' at graph 0.99, first {0} right offset 0, 0.5 textcolor rgb "
        "'#888888'\n",
        exact(floor));
  }
  for (const Series& series : block.series) {
    const CellResult* result = priced(block, series);
    if (result == nullptr) continue;
    const Estimate &time = *result->time_s, &error = *result->relative_error;
    const auto on_axis = [&](double value) { return std::max(value, floor); };
    add_series(figure, series,
               row({time.value, on_axis(error.value), time.low, time.high, on_axis(error.low),
                    on_axis(error.high)}),
               "1:2:3:4:5:6 with xyerrorbars");
  }
  return figure;
}

std::string listed(const std::vector<std::string>& parts) {
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string caption(const Block& block, Plot::Kind kind) {
  const bool single = block.lengths.size() == 1;
  const std::string where = fmt::format(" on {} ({}).", block.input, block.problem);
  const std::string failed =
      any_failure(block) ? " Open markers at the top edge: no result (see Failures)." : "";
  const std::string guides = single ? "" : " Dotted lines grow as n and n².";
  if (kind == Plot::Kind::time) {
    return "Time of one forward pass" + where +
           " Median over rounds with its 95 % interval; both axes logarithmic." + guides + failed;
  }
  if (kind == Plot::Kind::workspace) {
    return "Scratch memory beside inputs and outputs" + where +
           " Counted, not sampled; a marker on the lower edge needs none." + guides + failed;
  }
  std::vector<std::string> missing;
  for (const Series& series : block.series) {
    if (priced(block, series) == nullptr) missing.push_back(series.label);
  }
  return fmt::format("Error against cost at {} tokens", grouped(block.longest())) + where +
         " Lower and further left is better. Within the grey band an error is what float32 "
         "rounding "
         "does to full attention itself; exact variants stand on its edge." +
         (missing.empty() ? "" : " Without a time or an error there: " + listed(missing) + ".");
}

}  // namespace

int add_section(Figure& figure, const std::string& header, const std::string& rows) {
  if (figure.sections > 0) figure.data += "\n\n";
  if (!header.empty()) figure.data += data_text(header) + "\n";
  figure.data += rows;
  return figure.sections++;
}

Figure make_figure(const Block& block, Plot::Kind kind, const std::string& name) {
  Figure figure;
  figure.name = name;
  figure.plot.kind = kind;
  figure.plot.caption = caption(block, kind);
  add_section(figure, shortened(block.input, 60), "1\n");
  switch (kind) {
    case Plot::Kind::time:
      return cost_figure(block, std::move(figure), time_of);
    case Plot::Kind::workspace:
      return cost_figure(block, std::move(figure), workspace_of);
    case Plot::Kind::error:
      return error_figure(block, std::move(figure));
  }
  return figure;
}

}  // namespace longattn
