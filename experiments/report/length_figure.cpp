#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "experiments/report/captions.h"
#include "experiments/report/figures.h"
#include "experiments/report/looks.h"
#include "experiments/report/tags.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

// What is drawn against length.
struct Quantity {
  const char* columns;  // of the data file
  const char* name;     // of the axis
  bool has_interval;
  bool growth;  // lines that grow as n and n^2 mean something
  Axis (*axis)(const Range&, double above);
  std::optional<Estimate> (*measured)(const CellResult&);
  // What the open marker of a failure stands at: a bound, or nothing but the upper edge.
  std::optional<double> (*bound)(const Block&, const Series&, const CellResult&);
  bool (*drawn)(const Block&, const Series&);
};

std::optional<Estimate> time_of(const CellResult& result) { return result.time_s; }
std::optional<Estimate> workspace_of(const CellResult& result) {
  if (!result.workspace_bytes) return std::nullopt;
  return Estimate{*result.workspace_bytes, *result.workspace_bytes, *result.workspace_bytes};
}
std::optional<Estimate> error_of(const CellResult& result) {
  return above_rounding(result) ? result.relative_error : std::nullopt;
}

std::optional<double> time_bound(const Block& block, const Series& series,
                                 const CellResult& result) {
  if (result.status == Status::timeout) return block.time_limit_s;
  return result.status == Status::skipped ? predicted_seconds(series, result) : std::nullopt;
}
std::optional<double> bytes_bound(const Block& block, const Series&, const CellResult& result) {
  if (result.status == Status::oom) return block.memory_limit_bytes;
  return result.status == Status::skipped ? result.workspace_predicted_bytes : std::nullopt;
}
std::optional<double> no_bound(const Block&, const Series&, const CellResult&) {
  return std::nullopt;
}

bool is_approximate(const Block&, const Series& series) { return is_approximation(series); }

constexpr Quantity kTime = {"time_s\tlow_s\thigh_s",
                            "time of one forward pass",
                            true,
                            true,
                            time_axis,
                            time_of,
                            time_bound,
                            is_costed};
constexpr Quantity kWorkspace = {"workspace_bytes\t\t", "workspace", false,    true, bytes_axis,
                                 workspace_of,          bytes_bound, is_costed};
constexpr Quantity kError = {"relative_error\tlow\thigh",
                             "relative error",
                             true,
                             false,
                             error_axis,
                             error_of,
                             no_bound,
                             is_approximate};

// One mark of a figure.
struct Mark {
  const Series* series;
  const CellResult* result;
  std::optional<Estimate> measured;  // nothing: a failure
  double x = 0, y = 0;
};

Index length_of(const Mark& mark) { return mark.result->cell.problem.key_len; }

// Of the series that are drawn, from the upper to the lower end of their curves.
std::vector<const Series*> ordered(const std::vector<Mark>& marks) {
  std::vector<std::pair<double, const Series*>> ends;
  for (const Mark& mark : marks) {
    if (ends.empty() || ends.back().second != mark.series) ends.emplace_back(0, mark.series);
    if (mark.measured) ends.back().first = mark.measured->value;
  }
  std::ranges::stable_sort(ends, std::greater{}, &std::pair<double, const Series*>::first);
  std::vector<const Series*> order;
  for (const auto& [value, series] : ends) order.push_back(series);
  return order;
}

class LengthFigure {
 public:
  LengthFigure(const Block& block, const Quantity& quantity, Figure figure)
      : block_(block), quantity_(quantity), figure_(std::move(figure)) {}

  Figure draw() {
    collect();
    if (range_.empty() || !any_measured_) return std::move(figure_);
    const double above = edge_failures_ ? 6 : quantity_.growth ? 2.5 : 1.6;
    y_ = quantity_.axis(range_, above);
    x_ = length_axis(block_.lengths);
    set_axes();
    place();
    write();
    return std::move(figure_);
  }

 private:
  bool single() const { return block_.lengths.size() == 1; }

  void collect() {
    for (const Series& series : block_.series) {
      if (!quantity_.drawn(block_, series)) continue;
      for (const CellResult* result : series.cells) {
        const auto measured = quantity_.measured(*result);
        if (!measured && (result->status == Status::ok || result->status == Status::unsupported)) {
          continue;
        }
        marks_.push_back({&series, result, measured});
        if (measured) {
          any_measured_ = true;
          range_.add(measured->low);
          range_.add(measured->high);
        } else if (const auto bound = quantity_.bound(block_, series, *result)) {
          range_.add(*bound);
        } else {
          edge_failures_ = true;
        }
      }
    }
    order_ = ordered(marks_);
  }

  void set_axes() {
    figure_.axes += axis_script("y", y_, quantity_.name);
    if (!single()) {
      figure_.axes += axis_script("x", x_, "length (tokens)");
      if (quantity_.growth) add_guides();
      return;
    }
    // With one length there is no curve: the series stand side by side.
    std::string tics;
    for (size_t n = 0; n < order_.size(); ++n) {
      tics += fmt::format("{}'{}' {}", n == 0 ? "" : ", ", order_[n]->number, n + 1);
    }
    figure_.axes += fmt::format(
        "unset logscale x\nset xlabel 'at {} tokens, by the numbers of the key'\n"
        "set xrange [0.4:{}.6]\nset xtics ({})\n",
        grouped(block_.longest()), order_.size(), tics);
  }

  // Lines of slope 1 and 2 through where the first curve starts, named where they leave the figure.
  void add_guides() {
    const auto first = std::ranges::find_if(
        marks_, [](const Mark& mark) { return mark.measured && mark.measured->value > 0; });
    if (first == marks_.end()) return;
    const auto x0 = static_cast<double>(length_of(*first));
    const double y0 = first->measured->value;
    for (const int slope : {1, 2}) {
      const double at_top = x0 * std::pow(y_.high / y0, 1.0 / slope);
      const double end = std::min(x_.high / 1.04, at_top * 0.97);
      const double factor = y0 / std::pow(x0, slope);
      if (end <= x0) continue;
      add_curve(figure_, fmt::format("[{}:{}] {} * x**{} with lines lc rgb '#999999' dt 3 lw 1 "
                                     "notitle",
                                     exact(x0), exact(end), exact(factor), slope));
      figure_.axes += fmt::format(
          "set label '{}' at {}, {} right offset -0.4, 0.3 textcolor rgb '#888888'\n",
          slope == 1 ? "∝ n" : "∝ n²", exact(end), exact(factor * std::pow(end, slope)));
    }
  }

  void place() {
    std::map<std::pair<double, double>, int> beside;  // failures that would cover each other
    for (Mark& mark : marks_) {
      const auto at = std::ranges::find(order_, mark.series) - order_.begin();
      mark.x = single() ? static_cast<double>(at + 1) : static_cast<double>(length_of(mark));
      if (mark.measured) {
        mark.y = std::max(mark.measured->value, y_.low);
        continue;
      }
      const auto bound = quantity_.bound(block_, *mark.series, *mark.result);
      mark.y = bound.value_or(y_.high / std::pow(y_.high / y_.low, 0.035));
      const int before = beside[{mark.x, mark.y}]++;
      const double step = std::pow(x_.high / x_.low, 0.022);
      if (!single()) mark.x /= std::pow(step, before);
    }
  }

  void write() {
    figure_.data = data_header(quantity_.columns);
    std::vector<Tag> ends;
    for (const Series* series : order_) {
      bool measured = false, failed = false;
      Tag end{series->number, look(*series).colour};
      for (const Mark& mark : marks_) {
        if (mark.series != series) continue;
        std::vector<std::optional<double>> values = {mark.y, std::nullopt, std::nullopt};
        if (mark.measured && quantity_.has_interval) {
          values[1] = std::max(mark.measured->low, y_.low);
          values[2] = mark.measured->high;
        }
        (mark.measured ? measured : failed) = true;
        figure_.data += data_row(block_, *series, length_of(mark), mark.measured ? "point" : "open",
                                 mark.x, values);
        if (mark.measured) end = {end.number, end.colour, on_axis(x_, mark.x), on_axis(y_, mark.y)};
      }
      if (measured) {
        add_curve(figure_, *series, "point",
                  quantity_.has_interval ? "7:8:9 with yerrorlines" : "7 with linespoints");
        ends.push_back(end);
      }
      if (failed) add_curve(figure_, *series, "open", "7 with points");
    }
    if (!single()) figure_.axes += tags_at_the_edge(ends);
  }

  const Block& block_;
  const Quantity& quantity_;
  Figure figure_;
  std::vector<Mark> marks_;
  std::vector<const Series*> order_;
  Range range_;
  Axis x_, y_;
  bool any_measured_ = false, edge_failures_ = false;
};

}  // namespace

Figure length_figure(const Block& block, Figure figure) {
  const Quantity& quantity = figure.plot.kind == Plot::Kind::time        ? kTime
                             : figure.plot.kind == Plot::Kind::workspace ? kWorkspace
                                                                         : kError;
  return LengthFigure(block, quantity, std::move(figure)).draw();
}

}  // namespace longattn
