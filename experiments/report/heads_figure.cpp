#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/report/captions.h"
#include "experiments/report/figures.h"
#include "experiments/report/looks.h"
#include "experiments/report/text.h"

namespace longattn {

Figure heads_figure(const Block& block, Figure figure) {
  std::vector<std::pair<const Series*, const CellResult*>> drawn;
  Range errors;
  for (const Series& series : block.series) {
    const CellResult* result = at_length(series, block.longest());
    if (result == nullptr || result->head_errors.size() < 2 || !above_rounding(*result)) continue;
    if (is_null_baseline(series.variant)) continue;
    drawn.emplace_back(&series, result);
    for (const Estimate& error : result->head_errors) {
      for (const double value : {error.value, error.low, error.high}) errors.add(value);
    }
  }
  if (drawn.empty() || errors.empty()) return figure;
  errors.add(block.error_budget);
  const Axis y = error_axis(errors, 1.6);
  const size_t heads = drawn.front().second->head_errors.size();
  figure.axes += axis_script("y", y, "relative error");
  std::string tics;
  const size_t step = (heads + 15) / 16;  // of the heads that are written
  for (size_t h = 0; h < heads; ++h) {
    tics += fmt::format("{}'{}' {}", h == 0 ? "" : ", ", h % step == 0 ? std::to_string(h) : "", h);
  }
  figure.axes +=
      fmt::format("set xlabel 'head'\nset xrange [-0.5:{}.5]\nset xtics ({})\n", heads - 1, tics);
  figure.data = data_header("head\trelative_error\tlow\thigh");
  const auto count = static_cast<double>(drawn.size());
  for (size_t n = 0; n < drawn.size(); ++n) {
    const auto& [series, result] = drawn[n];
    const double aside = 0.7 * (static_cast<double>(n) + 0.5) / count - 0.35;  // of its neighbours
    for (size_t h = 0; h < result->head_errors.size(); ++h) {
      const Estimate& error = result->head_errors[h];
      const auto head = static_cast<double>(h);
      if (!std::isfinite(error.value)) continue;
      const auto inside = [&](double value) { return std::max(value, y.low); };
      figure.data += data_row(block, *series, block.longest(), "point", head + aside,
                              {head, inside(error.value), inside(error.low), inside(error.high)});
    }
    add_curve(figure, *series, "point", "8:9:10 with yerrorbars");
  }
  add_curve(figure, fmt::format("[-0.5:{}.5] {} with lines lc rgb '{}' dt 3 lw 1.5 notitle",
                                heads - 1, exact(block.error_budget), kInk));
  return figure;
}

}  // namespace longattn
