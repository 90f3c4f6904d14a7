#include "experiments/report/growth.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "experiments/report/text.h"

namespace longattn {
namespace {

MeasuredGrowth judged(Scaling scaling, const std::optional<double>& declared) {
  MeasuredGrowth growth{std::move(scaling), declared};
  if (declared) growth.verdict = judge_growth(growth.scaling, *declared);
  return growth;
}

const CellResult& longest(const Series& series) { return *series.cells.back(); }

MeasuredGrowth growth_of_time(const Series& series) {
  std::vector<CostAtLength> costs;
  for (const CellResult* result : series.cells) {
    if (result->status != Status::ok || result->round_seconds.empty()) continue;
    costs.push_back({result->cell.problem.key_len, result->round_seconds});
  }
  return judged(fit_scaling(costs), longest(series).growth_time);
}

MeasuredGrowth growth_of_workspace(const Series& series) {
  std::vector<CostAtLength> costs;
  for (const CellResult* result : series.cells) {
    if (result->status != Status::ok || !result->workspace_bytes) continue;
    costs.push_back({result->cell.problem.key_len, {*result->workspace_bytes}});
  }
  return judged(fit_scaling(costs, true), longest(series).growth_memory);
}

// Of the predicted operations: what an algorithm's own growth would be.
Scaling growth_of_operations(const Series& series) {
  std::vector<CostAtLength> costs;
  for (const CellResult* result : series.cells) {
    if (result->status != Status::ok || !result->flops) continue;
    costs.push_back({result->cell.problem.key_len, {*result->flops}});
  }
  return fit_scaling(costs, true);
}

std::string order(double exponent) {
  if (exponent == 0) return "O(1)";
  return exponent == 1 ? "O(n)" : fmt::format("O(n^{})", exact(exponent));
}

std::string faster_sentence(const Series& series, const char* cost, const MeasuredGrowth& growth) {
  const Scaling& scaling = growth.scaling;
  std::string text = fmt::format("{} declares {} {}, measures n^{:.2f}", series.label,
                                 order(*growth.declared), cost, scaling.tail.value);
  if (!scaling.counted) {
    text += fmt::format(" [{:.2f}, {:.2f}]", scaling.tail.low, scaling.tail.high);
  }
  text += fmt::format(" from {} to {} tokens", grouped(scaling.tail_from),
                      grouped(scaling.steps.back().to));
  if (!scaling.power_law) {
    std::vector<std::string> steps;
    for (const GrowthStep& step : scaling.steps) {
      steps.push_back(fmt::format("{:.2f}", step.exponent.value));
    }
    text += fmt::format(" (no power law: from length to length n^{})",
                        fmt::join(first_ones(steps), ", "));
  }
  text += ": it grows faster than declared";
  const Scaling operations = growth_of_operations(series);
  if (std::string_view(cost) != "time" || !operations.refusal.empty()) return text + ".";
  return text + fmt::format("; its operations by prediction as n^{:.2f}.", operations.tail.value);
}

Field number_or_empty(const std::optional<double>& value) {
  return value ? Field(*value) : Field();
}

// The rows of one cost of one series.
void add_rows(const Block& block, const Series& series, const char* cost,
              const MeasuredGrowth& growth, ResultTable& table) {
  const Scaling& scaling = growth.scaling;
  const bool fitted = scaling.refusal.empty();
  const auto add = [&](const char* span, Index from, Index to, Index lengths,
                       const Estimate& exponent, bool whole) {
    const bool tail = std::string_view(span) == "last_two_doublings";
    const bool interval = fitted && !scaling.counted;
    std::string reason;
    if (tail && growth.declared && growth.verdict == GrowthVerdict::undecided) {
      reason = undecided_reason(scaling, *growth.declared);
    }
    table.rows.push_back(
        {block.input,
         block.problem,
         series.variant,
         series.label,
         longest(series).cell.id,
         std::string(cost),
         std::string(span),
         from,
         to,
         lengths,
         fitted && !scaling.counted ? Field(scaling.rounds) : Field(),
         fitted ? Field(exponent.value) : Field(),
         interval ? Field(exponent.low) : Field(),
         interval ? Field(exponent.high) : Field(),
         number_or_empty(growth.declared),
         tail && growth.declared ? Field(std::string(to_string(growth.verdict))) : Field(),
         fitted && whole ? Field(scaling.power_law) : Field(),
         fitted && whole ? Field(scaling.residual) : Field(),
         fitted && whole ? Field(scaling.residual_at) : Field(),
         !fitted          ? Field(scaling.refusal)
         : reason.empty() ? Field()
                          : Field(reason)});
  };
  const Index first = series.cells.front()->cell.problem.key_len,
              last = longest(series).cell.problem.key_len;
  if (!fitted) return add("all", first, last, scaling.lengths, {}, true);
  const Index from = scaling.steps.front().from, to = scaling.steps.back().to;
  add("all", from, to, scaling.lengths, scaling.exponent, true);
  const Index in_tail = 1 + std::ranges::count_if(scaling.steps, [&](const GrowthStep& step) {
                          return step.from >= scaling.tail_from;
                        });
  add("last_two_doublings", scaling.tail_from, to, in_tail, scaling.tail, false);
  for (const GrowthStep& step : scaling.steps) {
    add("step", step.from, step.to, 2, step.exponent, false);
  }
}

}  // namespace

bool is_fitted(const SeriesGrowth& growth) {
  return growth.time.scaling.refusal.empty() || growth.workspace.scaling.refusal.empty();
}

std::vector<SeriesGrowth> growths(const Block& block) {
  std::vector<SeriesGrowth> all;
  for (const Series& series : block.series) {
    all.push_back({&series, growth_of_time(whole(series)), growth_of_workspace(whole(series))});
  }
  return all;
}

std::vector<Finding> growth_findings(const Block& block) {
  const std::vector<SeriesGrowth> all = growths(block);
  if (block.lengths.size() < 2) return {};
  if (std::ranges::none_of(all, is_fitted)) {
    std::string reason;
    for (const SeriesGrowth& growth : all) {
      if (growth.time.scaling.lengths > 0) reason = growth.time.scaling.refusal;
    }
    if (reason.empty()) return {};
    return {{fmt::format("No growth is fitted: {}.", reason)}};
  }
  std::vector<Finding> found;
  std::vector<std::pair<std::string, std::vector<std::string>>> undecided;  // by reason
  Index holding = 0, judged = 0;
  for (const SeriesGrowth& growth : all) {
    for (const auto& [cost, measured] :
         {std::pair("time", &growth.time), std::pair("workspace", &growth.workspace)}) {
      if (!measured->declared || measured->scaling.lengths == 0) continue;
      if (measured->verdict == GrowthVerdict::undecided) {
        const std::string reason = undecided_reason(measured->scaling, *measured->declared);
        auto known = std::ranges::find(undecided, reason, &decltype(undecided)::value_type::first);
        if (known == undecided.end()) known = undecided.insert(known, {reason, {}});
        known->second.push_back(fmt::format("{} ({})", growth.series->label, cost));
        continue;
      }
      ++judged;
      if (measured->verdict == GrowthVerdict::holds) {
        ++holding;
      } else {
        found.push_back({faster_sentence(*growth.series, cost, *measured), true});
      }
    }
  }
  if (found.size() > kMostListed) {
    const size_t more = found.size() - kFirstOnes;
    found.resize(kFirstOnes);
    found.push_back({fmt::format("{} more growths are faster than declared (scaling.csv).",
                                 grouped(static_cast<Index>(more))),
                     true});
  }
  if (holding > 0) {
    const std::string which = holding == judged ? fmt::format("All {} judged", judged)
                                                : fmt::format("{} of {} judged", holding, judged);
    found.push_back(
        {fmt::format("{} growths of time and workspace over the last two doublings are "
                     "at most as declared (exponent no more than {:g} above it).",
                     which, kGrowthMargin)});
  }
  std::vector<std::string> parts;
  for (const auto& [reason, which] : undecided) {
    parts.push_back(fmt::format("{}: {}", fmt::join(first_ones(which), ", "), reason));
  }
  if (!parts.empty()) {
    found.push_back({fmt::format("No verdict on the growth of {}.",
                                 fmt::join(first_ones(std::move(parts)), "; nor of "))});
  }
  return found;
}

ResultTable scaling_table(const RunResults& results) {
  ResultTable table;
  table.columns = {"input",
                   "problem",
                   "variant",
                   "label",
                   "longest_cell_id",
                   "cost",
                   "span",
                   "from_len",
                   "to_len",
                   "lengths",
                   "rounds",
                   "exponent",
                   "exponent_low",
                   "exponent_high",
                   "declared",
                   "verdict",
                   "power_law",
                   "worst_residual",
                   "worst_residual_len",
                   "reason"};
  for (const Block& block : arrange(results)) {
    for (const Series& series : block.series) {
      add_rows(block, series, "time", growth_of_time(series), table);
      add_rows(block, series, "workspace", growth_of_workspace(series), table);
    }
  }
  return table;
}

}  // namespace longattn
