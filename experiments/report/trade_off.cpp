#include <fmt/format.h>

#include <algorithm>

#include "experiments/report/captions.h"
#include "experiments/report/figures.h"
#include "experiments/report/judgements.h"
#include "experiments/report/looks.h"
#include "experiments/report/tags.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

struct Offer {
  const Series* series;
  Estimate time, error;
  bool exact;  // or nothing but rounding: no place on a logarithmic axis
  bool beaten = false;
};

std::vector<Offer> offers_of(const Block& block) {
  std::vector<Offer> offers;
  for (const Series& series : block.series) {
    const CellResult* result = at_length(series, block.longest());
    if (result == nullptr || !result->time_s || !result->relative_error) continue;
    const Estimate& error = *result->relative_error;
    offers.push_back({&series, *result->time_s, error, !above_rounding(*result)});
  }
  for (const auto& [series, result, standing] : standings(block, block.longest())) {
    for (Offer& offer : offers) {
      if (offer.series == series) offer.beaten = standing == Standing::dominated;
    }
  }
  std::ranges::stable_sort(offers, {}, [](const Offer& offer) { return offer.time.value; });
  return offers;
}

}  // namespace

Figure trade_off_figure(const Block& block, Figure figure) {
  const std::vector<Offer> offers = offers_of(block);
  Range times, errors;
  for (const Offer& offer : offers) {
    const bool null = is_null_baseline(offer.series->variant);
    for (const double time : {offer.time.low, offer.time.high}) times.add(null ? 0 : time);
    for (const double error : {offer.error.value, offer.error.low, offer.error.high}) {
      errors.add(offer.exact ? 0 : error);
    }
  }
  if (times.empty() || errors.empty()) return figure;
  const Axis x = time_axis(times, 1.6);
  const Axis y = error_axis_for(figure, errors, std::ranges::any_of(offers, &Offer::exact));
  figure.axes +=
      axis_script("x", x, "time of one forward pass") + axis_script("y", y, "relative error");
  figure.data = data_header("time_s\tlow_s\thigh_s\trelative_error\tlow\thigh");
  std::vector<Tag> points, lines;
  for (const Offer& offer : offers) {
    const auto& [series, time, error, is_exact, beaten] = offer;
    const char* const mark = beaten ? "beaten" : "point";
    const bool null = is_null_baseline(series->variant);
    const auto inside = [&](double value) { return std::max(value, y.low); };
    figure.data += data_row(block, *series, block.longest(), null ? "line" : mark, time.value,
                            {time.value, time.low, time.high, inside(error.value),
                             inside(error.low), inside(error.high)});
    const auto up = [&, is_exact = is_exact](double value) {
      return is_exact ? 0 : on_axis(y, inside(value));
    };
    const Tag tag{series->number,  look(*series).colour, null ? 1 : on_axis(x, time.value),
                  up(error.value), on_axis(x, time.low), on_axis(x, time.high),
                  up(error.low),   up(error.high)};
    if (null) {
      add_null_line(figure, *series, x, error.value);
      lines.push_back(tag);
    } else {
      add_curve(figure, *series, mark, "10:8:9:11:12 with xyerrorbars");
      points.push_back(tag);
    }
  }
  figure.axes += tags_at_points(points) + tags_at_the_edge(lines);
  return figure;
}

}  // namespace longattn
