#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "experiments/report/captions.h"
#include "experiments/report/figures.h"
#include "experiments/report/looks.h"
#include "experiments/report/tags.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

struct Spending {
  const Series* series;
  const CellResult* result;
  double keys;  // per query, by prediction
};

std::vector<Spending> spendings_of(const Block& block) {
  std::vector<Spending> found;
  for (const Series& series : block.series) {
    const CellResult* result = at_length(series, block.longest());
    if (result == nullptr || !result->relative_error || !result->scored_pairs) continue;
    const Problem& p = result->cell.problem;
    const auto queries = static_cast<double>(p.batch * p.num_heads * p.query_len);
    const double keys = *result->scored_pairs / queries;
    if (keys > 0 || is_null_baseline(series.variant)) found.push_back({&series, result, keys});
  }
  std::ranges::stable_sort(found, {}, &Spending::keys);
  return found;
}

// Settings of a variant that differ in one option are a curve; of others a line would be a tangle.
bool is_curve(const std::vector<const Spending*>& settings) {
  std::set<std::string> varied;
  for (const Spending* setting : settings) {
    const auto& options = setting->result->cell.options;
    const auto& first = settings.front()->result->cell.options;
    if (options.size() != first.size()) return false;
    for (size_t n = 0; n < options.size(); ++n) {
      if (options[n] != first[n]) varied.insert(options[n].first);
    }
  }
  return settings.size() > 1 && varied.size() == 1;
}

}  // namespace

Figure budget_figure(const Block& block, Figure figure) {
  const std::vector<Spending> spendings = spendings_of(block);
  Range keys, errors;
  size_t approximations = 0;
  for (const auto& [series, result, spent] : spendings) {
    if (!is_null_baseline(series->variant)) keys.add(spent);
    if (!above_rounding(*result)) continue;
    approximations += is_null_baseline(series->variant) ? 0 : 1;
    const Estimate& error = *result->relative_error;
    for (const double value : {error.value, error.low, error.high}) errors.add(value);
    errors.add(result->oracle_error.value_or(0));
  }
  if (keys.empty() || errors.empty() || approximations == 0) return figure;
  const Axis x = count_axis(keys, 1.6);
  const Axis y =
      error_axis_for(figure, errors, std::ranges::any_of(spendings, [](const Spending& s) {
                       return !above_rounding(*s.result) && !is_null_baseline(s.series->variant);
                     }));
  figure.axes +=
      axis_script("x", x, "keys scored per query") + axis_script("y", y, "relative error");
  figure.data = data_header("relative_error\tlow\thigh");
  const auto inside = [&](double value) { return std::max(value, y.low); };
  std::vector<Tag> points, lines;
  std::map<std::string, std::vector<const Spending*>> by_variant;
  for (const Spending& spending : spendings) {
    const auto& [series, result, spent] = spending;
    const Estimate& error = *result->relative_error;
    const bool approximate = above_rounding(*result);
    const auto up = [&](double value) { return approximate ? on_axis(y, inside(value)) : 0; };
    if (is_null_baseline(series->variant)) {
      figure.data += data_row(block, *series, block.longest(), "line", x.low,
                              {error.value, error.low, error.high});
      add_null_line(figure, *series, x, error.value);
      lines.push_back({series->number, look(*series).colour, 1, up(error.value)});
      continue;
    }
    by_variant[series->variant].push_back(&spending);
    figure.data += data_row(block, *series, block.longest(), "point", spent,
                            {inside(error.value), inside(error.low), inside(error.high)});
    add_curve(figure, *series, "point", "7:8:9 with yerrorbars");
    const double at = on_axis(x, spent);
    points.push_back({series->number, look(*series).colour, at, up(error.value), at, at,
                      up(error.low), up(error.high)});
    if (!approximate || !result->oracle_error) continue;
    figure.data += data_row(block, *series, block.longest(), "oracle", spent,
                            {inside(*result->oracle_error), std::nullopt, std::nullopt});
    add_curve(figure, fmt::format("'{}.tsv' using (pick({}, 'oracle')):7 with points pt 2 lc rgb "
                                  "'{}' notitle",
                                  figure.name, series->number, look(*series).colour));
  }
  for (const auto& [variant, settings] : by_variant) {
    if (!is_curve(settings)) continue;
    const Series& first = *settings.front()->series;
    for (const Spending* setting : settings) {
      figure.data +=
          data_row(block, first, block.longest(), "curve", setting->keys,
                   {inside(setting->result->relative_error->value), std::nullopt, std::nullopt});
    }
    add_curve(figure, fmt::format("'{}.tsv' using (pick({}, 'curve')):7 with lines lw 0.8 lc rgb "
                                  "'{}' notitle",
                                  figure.name, first.number, look(first).colour));
  }
  figure.axes += tags_at_points(points) + tags_at_the_edge(lines);
  return figure;
}

}  // namespace longattn
