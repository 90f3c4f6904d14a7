#include "experiments/report/figures.h"

#include <fmt/format.h>

#include <cmath>

#include "experiments/report/captions.h"
#include "experiments/report/gnuplot.h"
#include "experiments/report/looks.h"
#include "experiments/report/page_part.h"
#include "experiments/report/text.h"

namespace longattn {
std::string data_header(const std::string& figures) {
  return "series\tlabel\tinput\tlength\tmark\tx\t" + figures + "\n";
}

std::string data_row(const Block& block, const Series& series, Index length, const char* mark,
                     double x, const std::vector<std::optional<double>>& figures) {
  std::string text = fmt::format("{}\t{}\t{}\t{}\t{}\t{}", series.number, data_text(series.label),
                                 data_text(block.input), length, mark, exact(x));
  for (const auto& figure : figures) text += "\t" + (figure ? exact(*figure) : "");
  return text + "\n";
}

void add_curve(Figure& figure, const std::string& curve) {
  if (!figure.curves.empty()) figure.curves += ", \\\n  ";
  figure.curves += curve;
}

void add_curve(Figure& figure, const Series& series, const char* mark, const std::string& columns) {
  const Look style = look(series);
  const bool open = std::string_view(mark) != "point";
  const std::string title = add_to_key(figure, series, open);
  add_curve(figure,
            fmt::format("'{}.tsv' using (pick({}, '{}')):{} lc rgb '{}' pt {}{} {}", figure.name,
                        series.number, mark, columns, style.colour,
                        open ? style.open : style.marker, style.dashed ? " dt 2" : "", title));
}

std::string add_to_key(Figure& figure, const Series& series, bool open) {
  auto& key = figure.plot.key;
  if (!key.empty() && key.back().number == series.number) return "notitle";
  key.push_back({series.number, series.label, look(series), open});
  return fmt::format("title key({})", series.number);
}

void add_null_line(Figure& figure, const Series& series, const Axis& x, double error) {
  add_curve(figure,
            fmt::format("[{}:{}] {} with lines lc rgb '{}' dt 2 {}", exact(x.low), exact(x.high),
                        exact(error), look(series).colour, add_to_key(figure, series)));
}

Axis error_axis_for(Figure& figure, const Range& errors, bool any_exact) {
  Axis axis = error_axis(errors, 1.6);
  if (!any_exact) return axis;
  axis.low /= std::pow(axis.high / axis.low, 0.12);
  figure.axes +=
      fmt::format("set label 'exact' at graph -0.025, graph 0 right textcolor rgb '{}'\n", kInk);
  return axis;
}

std::string axis_script(const char* name, const Axis& axis, const char* label) {
  // gnuplot's own ylabel moves with the width that it guesses for the tics, out of the picture.
  const std::string title =
      name[0] == 'x' ? fmt::format("set xlabel '{}'\n", label)
                     : fmt::format(
                           "set label '{}' at screen 0.02, graph 0.5 center rotate textcolor rgb "
                           "'{}'\n",
                           label, kInk);
  return title + fmt::format("set logscale {0}\nset {0}range [{1}:{2}]\nset {0}tics {3}\n", name,
                             exact(axis.low), exact(axis.high), axis.tics);
}

double on_axis(const Axis& axis, double value) {
  return std::log(value / axis.low) / std::log(axis.high / axis.low);
}

Figure make_figure(const Block& block, Plot::Kind kind, const std::string& name) {
  Figure figure;
  figure.name = name;
  figure.plot.kind = kind;
  figure.plot.caption = caption(block, kind);
  if (const std::string part = part_text(block); !part.empty()) {
    figure.plot.caption += fmt::format(" Drawn: {}; all are in results.csv.", part);
  }
  switch (kind) {
    case Plot::Kind::time:
    case Plot::Kind::workspace:
      return length_figure(block, std::move(figure));
    case Plot::Kind::error_length:
      if (block.lengths.size() == 1) return figure;  // all of it is in the other one
      return length_figure(block, std::move(figure));
    case Plot::Kind::error:
      return trade_off_figure(block, std::move(figure));
    case Plot::Kind::budget:
      return budget_figure(block, std::move(figure));
    case Plot::Kind::pareto:
      return pareto_figure(block, std::move(figure));
    case Plot::Kind::heads:
      return heads_figure(block, std::move(figure));
  }
  return figure;
}

}  // namespace longattn
