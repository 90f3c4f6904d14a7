#include <fmt/format.h>

#include <algorithm>

#include "experiments/report/figures.h"
#include "experiments/report/judgements.h"
#include "experiments/report/looks.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

// gnuplot's point types: a disc, a ring, a cross.
int sign_of(Standing standing) {
  return standing == Standing::front ? 7 : standing == Standing::tied ? 6 : 2;
}

}  // namespace

Figure pareto_figure(const Block& block, Figure figure) {
  if (block.lengths.size() == 1) return figure;  // the figure of error against time tells it
  struct Place {
    Index length;
    double x;
    Standing standing;
  };
  std::vector<std::pair<const Series*, std::vector<Place>>> rows;
  for (size_t n = 0; n < block.lengths.size(); ++n) {
    const std::vector<SeriesStanding> found = standings(block, block.lengths[n]);
    if (found.size() < 2) continue;
    for (const auto& [series, result, standing] : found) {
      auto row = std::ranges::find(rows, series, &decltype(rows)::value_type::first);
      if (row == rows.end()) row = rows.insert(rows.end(), {series, {}});
      row->second.push_back({block.lengths[n], static_cast<double>(n + 1), standing});
    }
  }
  if (rows.empty()) return figure;
  std::ranges::sort(rows, {}, [](const auto& row) { return row.first->number; });
  figure.data = data_header("row");
  std::string lengths, numbers;
  const size_t step = (block.lengths.size() + 8) / 9;  // of the lengths that are written
  for (size_t n = 0; n < block.lengths.size(); ++n) {
    lengths += fmt::format("{}'{}' {}", n == 0 ? "" : ", ",
                           n % step == 0 ? short_length(block.lengths[n]) : "", n + 1);
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto& [series, places] = rows[r];
    const auto y = static_cast<double>(rows.size() - r);
    numbers += fmt::format("{}'{}' {}", r == 0 ? "" : ", ", series->number, exact(y));
    for (const Place& place : places) {
      figure.data += data_row(block, *series, place.length,
                              std::string(to_string(place.standing)).c_str(), place.x, {y});
    }
    for (const Standing standing : {Standing::front, Standing::tied, Standing::dominated}) {
      if (std::ranges::find(places, standing, &Place::standing) == places.end()) continue;
      // The key shows whose row it is, by the series' own marker.
      add_curve(figure, fmt::format("'{}.tsv' using (pick({}, '{}')):7 with points pt {} ps 1.3 lc "
                                    "rgb '{}' notitle",
                                    figure.name, series->number, to_string(standing),
                                    sign_of(standing), look(*series).colour));
    }
    add_curve(figure, fmt::format("NaN with points pt {} lc rgb '{}' {}", look(*series).marker,
                                  look(*series).colour, add_to_key(figure, *series)));
  }
  figure.axes += fmt::format(
      "set xlabel 'length (tokens)'\nset xrange [0.5:{}.5]\nset xtics ({})\n"
      "set yrange [0.4:{}.6]\nset ytics ({})\n"
      "set label 'setting, by the numbers of the key' at screen 0.02, graph 0.5 center rotate "
      "textcolor rgb '{}'\n",
      block.lengths.size(), lengths, rows.size(), numbers, kInk);
  return figure;
}

}  // namespace longattn
