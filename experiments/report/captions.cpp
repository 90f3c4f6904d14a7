#include "experiments/report/captions.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/report/text.h"

namespace longattn {
namespace {

std::string listed(const std::vector<std::string>& parts) {
  return fmt::format("{}", fmt::join(first_ones(parts), ", "));
}

// What is not supported has no marker: no limit was met.
bool any_failure(const Block& block) {
  return std::ranges::any_of(block.series, [](const Series& series) {
    return std::ranges::any_of(series.cells, [](const CellResult* r) {
      return r->status != Status::ok && r->status != Status::unsupported;
    });
  });
}

}  // namespace

std::string caption(const Block& block, Plot::Kind kind) {
  const std::string where = fmt::format(" on {} ({}).", block.input, block.problem);
  const std::string guides = block.lengths.size() == 1 ? "" : " Dotted lines grow as n and n².";
  const std::string elsewhere =
      std::ranges::any_of(block.series,
                          [&](const Series& series) { return !is_costed(block, series); })
          ? " What looks at no key (mean_value, zero) is in the table alone."
          : "";
  const auto failed = [&](std::string at) {
    return any_failure(block) ? " Open markers: no result" + at + " (see Failures)." : "";
  };
  switch (kind) {
    case Plot::Kind::time:
      return "Time of one forward pass" + where +
             " Median over rounds with its 95 % interval; both axes logarithmic." + guides +
             failed(block.time_limit_s
                        ? fmt::format("; a timeout stands at the limit of {}, what was skipped at "
                                      "the time that its operations would take at the speed of "
                                      "the longest length measured, others at the upper edge",
                                      duration(*block.time_limit_s))
                        : "") +
             elsewhere;
    case Plot::Kind::workspace:
      return "Scratch memory beside inputs and outputs" + where +
             " Counted, not sampled; a marker on the lower edge needs none." + guides +
             failed(block.memory_limit_bytes
                        ? fmt::format("; out of memory stands at the limit of {}, what was skipped "
                                      "at its predicted size, others at the upper edge",
                                      bytes(*block.memory_limit_bytes))
                        : "") +
             elsewhere;
    case Plot::Kind::error_length:
      break;
    case Plot::Kind::budget:
      return fmt::format("Error against the keys scored per query, at {} tokens",
                         grouped(block.longest())) +
             where +
             " Scored pairs are predicted; for patterns that depend on the content they are an "
             "upper bound. Lines join settings that differ in one option. Crosses: what the best "
             "choice of as many keys per row would lose, for low-rank methods the nearest weights "
             "of their rank. On the lower edge: exact, or nothing but float32 rounding. Dashed "
             "lines: what the mean of the values and an output of zeros lose.";
    case Plot::Kind::pareto:
      return "Error, time and workspace together" + where +
             " Disc: no other setting is better in one of the three and as good in the others. "
             "Ring: by the measured values another one is, but within the intervals it is not "
             "decided (tied). Cross: beaten. Nothing: without an error, a time or a workspace.";
    case Plot::Kind::heads:
      return fmt::format("Error in each head at {} tokens", grouped(block.longest())) + where +
             fmt::format(
                 " With 95 % intervals over the head's own sampled queries. Dotted line: "
                 "the error budget of {:g} (measure.error_budget).",
                 block.error_budget);
    case Plot::Kind::error:
      std::vector<std::string> missing;
      for (const Series& series : block.series) {
        const CellResult* result = at_length(series, block.longest());
        const bool priced = result != nullptr && result->time_s && result->relative_error;
        if (!priced && !is_null_baseline(series.variant)) missing.push_back(series.label);
      }
      return fmt::format("Error against time at {} tokens", grouped(block.longest())) + where +
             " Lower and further left is better. Open markers: beaten, another setting is nowhere "
             "worse in error, time and workspace and surely better in one. On the lower edge: "
             "exact, or nothing but float32 "
             "rounding. Dashed lines: what the mean of the values and an output of zeros lose." +
             (missing.empty() ? "" : " Without a time or an error: " + listed(missing) + ".");
  }
  std::vector<std::string> exact_ones;
  for (const Series& series : block.series) {
    const bool judged = std::ranges::any_of(
        series.cells, [](const CellResult* r) { return r->relative_error.has_value(); });
    if (judged && !is_approximation(series)) exact_ones.push_back(series.label);
  }
  return "Relative error against length" + where +
         " With its 95 % interval over sampled queries; both axes logarithmic. Where there is no "
         "point the output is exact, or nothing was judged." +
         (exact_ones.empty() ? "" : " Exact at every length: " + listed(exact_ones) + ".");
}

std::optional<double> predicted_seconds(const Series& series, const CellResult& result) {
  const auto& all = whole(series).cells;
  for (auto it = all.rbegin(); it != all.rend(); ++it) {
    const CellResult& measured = **it;
    if (!measured.time_s || !measured.flops || !result.flops || !(*measured.flops > 0)) continue;
    return measured.time_s->value * *result.flops / *measured.flops;
  }
  return std::nullopt;
}

bool above_rounding(const CellResult& result) {
  constexpr double kUnit = 0x1p-24;  // of float32; a floor below it is luck: numbers that are round
  return result.relative_error &&
         result.relative_error->value > std::max(kUnit, result.relative_error_floor.value_or(0));
}

bool is_approximation(const Series& series) {
  return std::ranges::any_of(series.cells, [](const CellResult* r) { return above_rounding(*r); });
}

bool is_costed(const Block& block, const Series& series) {
  return !is_null_baseline(series.variant) ||
         std::ranges::all_of(block.series,
                             [](const Series& other) { return is_null_baseline(other.variant); });
}

}  // namespace longattn
