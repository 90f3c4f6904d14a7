#include "experiments/forecast.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace longattn {
namespace {

double real(Index value) { return static_cast<double>(value); }

// Google Benchmark's search (PredictNumItersNeeded): ten times as many passes until they last a
// tenth of min_time, then as many as should last 1.4 of it.
double timed_seconds(double pass, double min_time) {
  if (!(pass > 0)) return 1.4 * min_time;
  double total = 0, passes = 1;
  for (;;) {
    const double seconds = passes * pass;
    total += seconds;
    if (seconds >= min_time) return total;
    const double factor = seconds > 0.1 * min_time ? 1.4 * min_time / seconds : 10;
    passes = std::round(std::max(factor * passes, passes + 1));
  }
}

CellForecast forecast_cell(const Experiment& experiment, const PlannedCell& planned,
                           const Calibration& calibration) {
  const Measure& measure = experiment.measure;
  const Problem& p = planned.cell.problem;
  const Calibration::Ceilings& ceilings = calibration.of(planned.cell.threads);
  CellForecast cell;
  const Cost& cost = *planned.cost;
  const double judged_per_s = calibration.judged_per_s * planned.cell.threads;
  cell.pass = std::max((cost.flops - cost.double_flops) / ceilings.flops_per_s,
                       cost.bytes_moved / ceilings.bytes_per_s) +
              cost.double_flops / (2 * judged_per_s);
  const auto limited = [&](double seconds) {
    if (seconds > experiment.limits.time_s) cell.over_limit = true;
    return std::min(seconds, experiment.limits.time_s);
  };
  if (measure.error) {
    // Every head is judged on a row at least.
    const double rows = std::min(real(std::max(measure.error_rows, p.batch * p.num_heads)),
                                 real(p.batch * p.num_heads) * real(p.query_len));
    const double definitions = 2 + (planned.options.has("seed") ? real(measure.seeds) : 1);
    const double elements = rows * real(p.key_len) * real(p.head_dim + p.value_dim);
    cell.error = limited(calibration.start_s + cell.pass + definitions * elements / judged_per_s);
  }
  if (measure.memory) cell.memory = limited(calibration.start_s + cell.pass);
  if (measure.time) {
    cell.time = real(measure.rounds) * limited(calibration.start_s + cell.pass +
                                               timed_seconds(cell.pass, measure.min_time_s));
  }
  return cell;
}

}  // namespace

Forecast forecast(const Experiment& experiment, const std::vector<PlannedCell>& plan,
                  const Calibration& calibration) {
  Forecast result;
  std::set<std::string> made;
  for (const PlannedCell& planned : plan) {
    if (!planned.cost || !planned.skipped.empty()) {
      result.cells.emplace_back();
      continue;
    }
    result.cells.push_back(forecast_cell(experiment, planned, calibration));
    result.total_s += result.cells.back()->total();
    const Problem& p = planned.cell.problem;
    const double elements =
        real(p.batch) * (real(p.num_heads) * real(p.query_len * p.head_dim) +
                         real(p.num_kv_heads) * real(p.key_len) * real(p.head_dim + p.value_dim));
    const std::string input =
        fmt::format("{} {} {}", planned.cell.input.label, elements, p.key_len);
    if (!planned.cell.input.is_trace() && made.insert(input).second) {
      result.inputs_s += elements / calibration.drawn_per_s;
    }
  }
  result.total_s += result.inputs_s;
  return result;
}

}  // namespace longattn
