#include "experiments/report/judgements.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "experiments/judge/crossover.h"
#include "experiments/judge/pareto.h"
#include "experiments/report/captions.h"
#include "experiments/report/text.h"

namespace longattn {
namespace {

using Found = std::pair<const Series*, const CellResult*>;

// Those with a time and an error at this length; null baselines and oracles of no use are left to
// the reader.
std::vector<Found> judged_at(const Block& block, Index length) {
  std::vector<Found> found;
  for (const Series& series : block.series) {
    const CellResult* result = at_length(series, length);
    if (result == nullptr || is_null_baseline(series.variant)) continue;
    if (result->status == Status::ok && result->time_s && result->relative_error) {
      found.emplace_back(&series, result);
    }
  }
  return found;
}

Estimate exactly(double value) { return {value, value, value}; }

using CostOf = std::function<std::optional<Estimate>(const CellResult&)>;

std::vector<CostPair> pairs_of(const Series& ours, const Series& theirs, const CostOf& cost) {
  std::vector<CostPair> pairs;
  for (const CellResult* result : ours.cells) {
    const CellResult* other = at_length(theirs, result->cell.problem.key_len);
    if (other == nullptr) continue;
    const auto a = cost(*result), b = cost(*other);
    if (a && b) pairs.push_back({result->cell.problem.key_len, *a, *b});
  }
  return pairs;
}

std::string from_text(const Crossover& crossover) {
  const auto tokens = [](double length) { return grouped(static_cast<Index>(length + 0.5)); };
  const Estimate& length = crossover.length;
  return length.low > 0 ? fmt::format("{} ({} to {})", tokens(length.value), tokens(length.low),
                                      tokens(length.high))
                        : fmt::format("{} at most", tokens(length.high));
}

// Those at the end of the block's lengths that have no gap.
std::vector<CostPair> without_gap(const std::vector<CostPair>& pairs, const Block& block) {
  size_t kept = 0;
  while (kept < std::min(pairs.size(), block.lengths.size()) &&
         pairs[pairs.size() - 1 - kept].length == block.lengths[block.lengths.size() - 1 - kept]) {
    ++kept;
  }
  return {pairs.end() - static_cast<std::ptrdiff_t>(kept), pairs.end()};
}

// Nothing of a series that cannot be told about.
std::optional<Crossover> crossover_of(const Block& block, const Series& series,
                                      const Series& reference, const CostOf& cost, bool bounded) {
  std::vector<CostPair> pairs = pairs_of(series, reference, cost);
  if (!bounded) return pairs.size() < 2 ? std::nullopt : find_crossover(pairs);
  pairs = without_gap(pairs, block);
  if (pairs.empty()) return Crossover{Crossover::Kind::never, {}};
  std::optional<Crossover> found = find_crossover(pairs);
  const Index first = pairs.front().length;
  if (found->kind == Crossover::Kind::everywhere && first > block.lengths.front()) {
    const auto high = static_cast<double>(first);
    found = Crossover{Crossover::Kind::from, {high, 0, high}};
  }
  return found;
}

// "faster than full: everywhere a, b; from about 700 tokens on (512 to 1,024) c; nowhere d".
// With a condition, a result without a cost is one that does not meet it.
std::string crossover_sentence(const Block& block, std::string_view reference, const char* better,
                               const CostOf& cost, const std::string& condition = "") {
  const Series* theirs = find_series(block, reference);
  if (theirs == nullptr || block.lengths.size() < 2) return "";
  std::map<Crossover::Kind, std::vector<std::string>> found;
  for (const Series& series : block.series) {
    if (&series == theirs || is_null_baseline(series.variant)) continue;
    const auto crossover = crossover_of(block, series, *theirs, cost, !condition.empty());
    if (!crossover) continue;
    std::string text = series.label;
    if (crossover->kind == Crossover::Kind::from) text += ", " + from_text(*crossover);
    found[crossover->kind].push_back(std::move(text));
  }
  if (found.empty()) return "";
  std::vector<std::string> parts;
  for (const auto& [kind, words] :
       {std::pair(Crossover::Kind::everywhere, "at every measured length "),
        {Crossover::Kind::from, "from about so many tokens on "},
        {Crossover::Kind::never, "never in the measured range "},
        {Crossover::Kind::open, "not told apart at the longest "}}) {
    const auto at = found.find(kind);
    if (at == found.end()) continue;
    const char* separator = kind == Crossover::Kind::from ? "; " : ", ";
    parts.push_back(words + fmt::format("{}", fmt::join(first_ones(at->second), separator)));
  }
  return fmt::format("{} than {}{}: {}.", better, reference, condition, fmt::join(parts, "; "));
}

}  // namespace

std::string equal_error_sentence(const Block& block) {
  const std::vector<Found> found = judged_at(block, block.longest());
  const bool approximate =
      std::ranges::any_of(found, [](const Found& f) { return !f.second->declared_exact; });
  if (!approximate) return "";
  std::vector<double> errors = {0.3, 0.1, 0.03, 0.01};
  if (std::ranges::find(errors, block.error_budget) == errors.end()) {
    errors.push_back(block.error_budget);
    std::ranges::sort(errors, std::greater{});
  }
  // Errors of one answer stand together: the smallest says most.
  std::vector<std::pair<std::string, double>> answers;
  for (double error : errors) {
    const Found* cheapest = nullptr;
    for (const Found& f : found) {
      if (f.second->relative_error->high > error) continue;
      if (cheapest == nullptr || f.second->time_s->value < cheapest->second->time_s->value) {
        cheapest = &f;
      }
    }
    std::string answer = "none";
    if (cheapest != nullptr) {
      const Estimate& time = *cheapest->second->time_s;
      std::vector<std::string> tied;
      for (const Found& f : found) {
        if (&f == cheapest || f.second->relative_error->high > error) continue;
        if (f.second->time_s->low <= time.high) tied.push_back(f.first->label);
      }
      answer = fmt::format("{} ({} {}{}{})", cheapest->first->label, duration(time.value),
                           half_width(time), tied.empty() ? "" : ", tied with ",
                           fmt::join(first_ones(tied), " and "));
    }
    if (!answers.empty() && answers.back().first == answer) answers.pop_back();
    answers.emplace_back(answer, error);
  }
  std::vector<std::string> parts;
  for (const auto& [answer, error] : answers) {
    parts.push_back(fmt::format("{:.3g} %: {}", 100 * error, answer));
  }
  return fmt::format("The cheapest way at {} tokens to a relative error of at most {}.",
                     grouped(block.longest()), fmt::join(parts, "; "));
}

std::vector<std::string> crossover_sentences(const Block& block) {
  const CostOf time = [](const CellResult& result) { return result.time_s; };
  const CostOf workspace = [](const CellResult& result) -> std::optional<Estimate> {
    if (!result.workspace_bytes) return std::nullopt;
    return exactly(*result.workspace_bytes);
  };
  const CostOf time_within = [&](const CellResult& result) {
    const bool within = result.relative_error && result.relative_error->high <= block.error_budget;
    return within ? result.time_s : std::nullopt;
  };
  const bool approximate = std::ranges::any_of(
      judged_at(block, block.longest()), [](const Found& f) { return !f.second->declared_exact; });
  std::vector<std::string> sentences = {
      crossover_sentence(block, "full", "Faster", time),
      crossover_sentence(block, "blockwise", "Faster", time),
      crossover_sentence(block, "full", "Less workspace", workspace),
      crossover_sentence(block, "blockwise", "Less workspace", workspace)};
  if (approximate) {
    const std::string condition =
        fmt::format(" with a relative error of at most {:.3g} %", 100 * block.error_budget);
    sentences.push_back(crossover_sentence(block, "full", "Faster", time_within, condition));
  }
  std::erase(sentences, "");
  return sentences;
}

std::string_view to_string(Standing standing) {
  constexpr std::array<std::string_view, 3> kNames = {"front", "tied", "beaten"};
  return kNames[static_cast<size_t>(standing)];
}

std::vector<SeriesStanding> standings(const Block& block, Index length) {
  std::vector<Found> found = judged_at(whole(block), length);
  std::erase_if(found, [](const Found& f) { return !f.second->workspace_bytes; });
  std::vector<Costs> costs;
  for (const auto& [series, result] : found) {
    costs.push_back({*result->relative_error, *result->time_s, exactly(*result->workspace_bytes)});
  }
  const std::vector<Standing> all = pareto(costs);
  std::vector<SeriesStanding> stand;
  for (size_t n = 0; n < found.size(); ++n) {
    stand.push_back({found[n].first, found[n].second, all[n]});
  }
  if (block.whole == nullptr) return stand;
  std::vector<SeriesStanding> of_part;
  for (const Series& series : block.series) {
    const auto at = std::ranges::find(stand, at_length(series, length), &SeriesStanding::result);
    if (at != stand.end()) of_part.push_back({&series, at->result, at->standing});
  }
  return of_part;
}

TextTable pareto_overview(const Block& block) {
  TextTable table;
  table.name =
      "Error, time and workspace together, by length: on the front, tied with it within the "
      "intervals, or beaten by another setting";
  table.heads = {"variant"};
  table.words = true;
  std::map<const Series*, std::vector<std::string>> rows;
  for (const Index length : block.lengths) {
    table.heads.push_back(grouped(length));
    const std::vector<SeriesStanding> found = standings(block, length);
    if (found.size() < 2) continue;
    for (const auto& [series, result, standing] : found) {
      auto& row = rows[series];
      row.resize(table.heads.size() - 2, "–");
      row.emplace_back(to_string(standing));
    }
  }
  for (const Series& series : block.series) {  // in their own order
    const auto found = rows.find(&series);
    if (found == rows.end()) continue;
    std::vector<std::string> row = {series.label};
    row.insert(row.end(), found->second.begin(), found->second.end());
    row.resize(table.heads.size(), "–");
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string pareto_sentence(const Block& block) {
  const std::vector<SeriesStanding> found = standings(block, block.longest());
  if (found.size() < 3) return "";
  std::map<Standing, std::vector<std::string>> names;
  for (const auto& [series, result, standing] : found) names[standing].push_back(series->label);
  const auto joined = [&](Standing standing) {
    return fmt::format("{}", fmt::join(first_ones(names[standing]), ", "));
  };
  const size_t front = names[Standing::front].size(), beaten = names[Standing::dominated].size();
  std::string text =
      fmt::format("Error, time and workspace at {} tokens: ", grouped(block.longest()));
  if (front <= beaten) {
    text += fmt::format("nothing is nowhere worse and somewhere better than {}",
                        joined(Standing::front));
  } else if (beaten > 0) {
    text += fmt::format(
        "another setting is nowhere worse and somewhere better than {}; than none of the "
        "other {}",
        joined(Standing::dominated), front);
  } else {
    text += "no setting is beaten by another in all three";
  }
  if (!names[Standing::tied].empty()) {
    text += fmt::format("; not decided within the intervals: {}", joined(Standing::tied));
  }
  return text + ".";
}

std::string useless_sentence(const Block& block) {
  std::vector<std::string> names;
  for (const auto& [series, result] : judged_at(block, block.longest())) {
    if (result->declared_exact || !result->mean_value_error) continue;
    if (!above_rounding(*result)) continue;  // where the mean itself is exact
    if (result->relative_error->high < *result->mean_value_error) continue;
    names.push_back(
        fmt::format("{} ({})", series->label, three_digits(result->relative_error->value)));
  }
  if (names.empty()) return "";
  double mean = 0;
  for (const auto& [series, result] : judged_at(block, block.longest())) {
    mean = result->mean_value_error.value_or(mean);
  }
  return fmt::format(
      "No better than the mean of V, whose relative error at {} tokens is {} (0 is exact, 1 an "
      "output of zeros): {}.",
      grouped(block.longest()), three_digits(mean), fmt::join(first_ones(names), ", "));
}

}  // namespace longattn
