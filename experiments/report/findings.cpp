#include "experiments/report/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "experiments/report/growth.h"
#include "experiments/report/heads.h"
#include "experiments/report/judgements.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

using Found = std::pair<const Series*, const CellResult*>;

// Those that have what `measured` asks for at this length; null baselines only when wanted.
template <class Measured>
std::vector<Found> measured_at(const Block& block, Index length, const Measured& measured) {
  std::vector<Found> found;
  for (const Series& series : block.series) {
    const CellResult* result = at_length(series, length);
    if (result != nullptr && measured(*result)) found.emplace_back(&series, result);
  }
  return found;
}

std::string joined(const std::vector<std::string>& all) {
  const std::vector<std::string> parts = first_ones(all);
  std::string text;
  for (size_t n = 0; n < parts.size(); ++n) {
    text += n == 0 ? "" : n + 1 < parts.size() ? ", " : " and ";
    text += parts[n];
  }
  return text;
}

std::string against_full(const Estimate& speed) {
  if (speed.low > 1) return fmt::format("{} times as fast as full", three_digits(speed.value));
  if (speed.high < 1)
    return fmt::format("{} times slower than full", three_digits(1 / speed.value));
  return "no measurable difference to full";
}

// Nothing was timed at the longest length by full: where it ended, and where it last had a time.
std::string baseline_sentence(const Block& block) {
  const Series* full = find_series(block, "full");
  if (full == nullptr || baseline(block, block.longest()) != nullptr) return "";
  const bool timed = std::ranges::any_of(block.series, [](const Series& series) {
    return std::ranges::any_of(series.cells,
                               [](const CellResult* r) { return r->time_s.has_value(); });
  });
  if (!timed) return "";
  const std::string length = grouped(block.longest());
  std::string text;
  const CellResult* last = at_length(*full, block.longest());
  if (last == nullptr) {
    text = fmt::format("full was not run at {} tokens", length);
  } else if (last->status == Status::ok) {
    text = fmt::format("The run ended before full was timed at {} tokens", length);
  } else {
    text = fmt::format("full has no time at {} tokens ({})", length, failure_text(*last));
  }
  for (auto n = block.lengths.rbegin(); n != block.lengths.rend(); ++n) {
    if (baseline(block, *n) == nullptr) continue;
    return text + fmt::format("; at {}, the longest it reached, it takes {}.", grouped(*n),
                              duration(baseline(block, *n)->time_s->value));
  }
  return text + ".";
}

std::string fastest_sentence(const Block& block) {
  std::vector<Found> timed = measured_at(block, block.longest(), [](const CellResult& result) {
    return result.time_s && !is_null_baseline(result.cell.variant);
  });
  if (timed.size() < 2) return "";
  std::ranges::sort(timed, {}, [](const Found& f) { return f.second->time_s->value; });
  const auto& [series, result] = timed.front();
  std::string text =
      fmt::format("At {} tokens {} is the fastest", grouped(block.longest()), series->label);
  std::vector<std::string> tied;
  for (size_t n = 1; n < timed.size(); ++n) {
    if (timed[n].second->time_s->low <= result->time_s->high) {
      tied.push_back(timed[n].first->label);
    }
  }
  text += fmt::format(" at {}", duration(result->time_s->value));
  if (!tied.empty()) text += fmt::format(", tied with {} within the intervals", joined(tied));
  const auto speed = speed_against_full(block, *result);
  if (!speed || series->variant == "full") return text + ".";
  const CellResult* full = baseline(block, block.longest());
  return text + fmt::format("; {} ({}).", against_full(*speed), duration(full->time_s->value));
}

// The other variants that are slower than full: nobody should have to search for them.
std::string slower_sentence(const Block& block) {
  std::vector<std::string> slower;
  for (const Series& series : block.series) {
    const CellResult* result = at_length(series, block.longest());
    const auto speed = result == nullptr ? std::nullopt : speed_against_full(block, *result);
    if (speed && speed->high < 1) {
      slower.push_back(fmt::format("{} ({} times)", series.label, three_digits(1 / speed->value)));
    }
  }
  if (slower.empty()) return "";
  return fmt::format("Slower than full at that length: {}.", joined(slower));
}

std::string memory_sentence(const Block& block) {
  auto found = measured_at(block, block.longest(), [](const CellResult& result) {
    return result.workspace_bytes && !is_null_baseline(result.cell.variant);
  });
  if (found.empty()) return "";
  std::ranges::sort(found, {}, [](const Found& f) { return *f.second->workspace_bytes; });
  const auto part = [](const Found& f) {
    return fmt::format("{} ({})", bytes(*f.second->workspace_bytes), f.first->label);
  };
  std::string text = part(found.front());
  if (found.size() > 1) text = fmt::format("from {} to {}", text, part(found.back()));
  return fmt::format("Workspace, memory beside inputs and outputs, at {} tokens: {}.",
                     grouped(block.longest()), text);
}

// Errors against full attention over the keys that a variant makes for itself, where it makes some.
std::string own_error_sentence(const Block& block) {
  std::vector<std::string> parts;
  for (const auto& [series, result] : measured_at(block, block.longest(), [](const CellResult& r) {
         return r.own_relative_error && r.relative_error;
       })) {
    parts.push_back(fmt::format("{} {} (and {} against full attention over the keys given)",
                                series->label, three_digits(result->own_relative_error->value),
                                three_digits(result->relative_error->value)));
  }
  if (parts.empty()) return "";
  return fmt::format("Against full attention over the keys that it makes itself: {}.",
                     joined(parts));
}

std::string exact_sentence(const Block& block) {
  std::vector<std::string> conforming;
  double worst = 0;
  for (const Series& series : block.series) {
    bool judged = false, ok = true;
    for (const CellResult* result : series.cells) {
      if (!result->implementation_ratio) continue;
      judged = true;
      ok = ok && result->declared_exact && *result->implementation_ratio <= 1;
      if (ok) worst = std::max(worst, *result->implementation_ratio);
    }
    if (judged && ok) conforming.push_back(series.label);
  }
  if (conforming.empty()) return "";
  return fmt::format(
      "{} {} exact: at every length the output equals full attention in double "
      "precision to rounding (at worst {} of the tolerance).",
      joined(conforming), conforming.size() == 1 ? "is" : "are", three_digits(worst));
}

// What only the variants know of their plans, at the longest length.
std::vector<std::string> plan_sentences(const Block& block) {
  std::vector<std::string> sentences;
  for (const Series& series : block.series) {
    const CellResult* result = at_length(series, block.longest());
    if (result == nullptr || result->figures.empty()) continue;
    sentences.push_back(fmt::format("By the plan of {} at {} tokens: {}.", series.label,
                                    grouped(block.longest()), figures_text(result->figures)));
    if (result->measured.empty()) continue;
    sentences.push_back(fmt::format("Measured of {} at {} tokens, in the last round: {}.",
                                    series.label, grouped(block.longest()),
                                    figures_text(result->measured)));
  }
  if (sentences.size() > kMostListed) {
    const size_t more = sentences.size() - kFirstOnes;
    sentences.resize(kFirstOnes);
    sentences.push_back(fmt::format("{} more sentences on plans: their figures are in results.csv.",
                                    grouped(static_cast<Index>(more))));
  }
  return sentences;
}

}  // namespace

std::vector<Finding> findings(const Block& block) {
  std::vector<Finding> found = {{useless_sentence(block), true}, {baseline_sentence(block)},
                                {fastest_sentence(block)},       {equal_error_sentence(block)},
                                {heads_sentence(block)},         {own_error_sentence(block)}};
  const auto add = [&](std::vector<std::string> sentences) {
    for (std::string& sentence : sentences) found.push_back({std::move(sentence)});
  };
  const std::vector<std::string> crossovers = crossover_sentences(block);
  add(crossovers.empty() ? std::vector{slower_sentence(block)} : crossovers);
  found.push_back({memory_sentence(block)});
  add(plan_sentences(block));
  std::ranges::move(growth_findings(block), std::back_inserter(found));
  found.push_back({pareto_sentence(block)});
  found.push_back({exact_sentence(block)});
  std::erase_if(found, [](const Finding& finding) { return finding.text.empty(); });
  return found;
}

std::string failures_sentence(const RunResults& results) {
  std::map<Status, Index> counts;
  Index failures = 0;
  for (const CellResult& result : results.cells) {
    if (result.status == Status::ok) continue;
    ++counts[result.status];
    ++failures;
  }
  if (failures == 0) return "";
  std::vector<std::string> parts;
  for (const auto& [status, count] : counts) {
    parts.push_back(fmt::format("{} {}", count, to_string(status)));
  }
  return fmt::format("{} of {} cells {} no complete result: {}.", failures, results.cells.size(),
                     failures == 1 ? "has" : "have", joined(parts));
}

}  // namespace longattn
