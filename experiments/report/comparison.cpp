#include "experiments/report/comparison.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/report/text.h"

namespace longattn {
namespace {

using Row = std::array<std::string, 7>;
constexpr size_t kInput = 0, kVariant = 1, kVerdict = 6;

ShortLabels labels_of(const Comparison& comparison) {
  ShortLabels labels;
  for (const CellComparison& cell : comparison.cells) labels.add(cell.before->cell);
  return labels;
}

std::string time_of(const CellResult& result) {
  return result.time_s ? duration(result.time_s->value) : std::string(to_string(result.status));
}

Row row_of(const CellComparison& cell, const ShortLabels& labels) {
  Row row = {one_line(cell.before->cell.input.label),
             one_line(labels.of(cell.before->cell)),
             grouped(cell.before->cell.problem.key_len),
             time_of(*cell.before),
             time_of(*cell.after),
             "-",
             std::string(to_string(cell.verdict))};
  if (cell.ratio) {
    row[5] = fmt::format("{:.3f} [{:.3f}, {:.3f}]", cell.ratio->value, cell.ratio->low,
                         cell.ratio->high);
  }
  return row;
}

std::string table(const Comparison& comparison) {
  const ShortLabels labels = labels_of(comparison);
  std::vector<Row> rows = {
      {"input", "variant", "length", "first", "second", "second / first", "verdict"}};
  for (const CellComparison& cell : comparison.cells) rows.push_back(row_of(cell, labels));
  std::array<size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows) {
    for (size_t n = 0; n < row.size(); ++n) widths[n] = std::max(widths[n], display_width(row[n]));
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t n = 0; n < row.size(); ++n) {
      const std::string padding(widths[n] - display_width(row[n]), ' ');
      const bool left = n == kInput || n == kVariant || n == kVerdict;
      line += (n == 0 ? "" : "  ") + (left ? row[n] + padding : padding + row[n]);
    }
    line.resize(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string change_text(const CellComparison& cell, const Change& change) {
  const CellResult &a = *cell.before, &b = *cell.after;
  switch (change.figure) {
    case Change::Figure::status:
      return fmt::format("status {}, was {}{}", to_string(b.status), to_string(a.status),
                         b.reason.empty() ? "" : ": " + one_line(b.reason));
    case Change::Figure::relative_error:
      return fmt::format("relative error {}, was {}", exact(b.relative_error->value),
                         exact(a.relative_error->value));
    case Change::Figure::workspace:
      return fmt::format("workspace {} bytes, was {}", exact(*b.workspace_bytes),
                         exact(*a.workspace_bytes));
  }
  return "";
}

std::string changes(const Comparison& comparison) {
  const ShortLabels labels = labels_of(comparison);
  std::string text;
  for (const CellComparison& cell : comparison.cells) {
    for (const Change& change : cell.changes) {
      text += fmt::format("{} {}, {} tokens: {}\n", change.worse ? "WORSE " : "change",
                          one_line(labels.of(cell.before->cell)),
                          grouped(cell.before->cell.problem.key_len), change_text(cell, change));
    }
  }
  return text;
}

std::string remarks(const Comparison& comparison) {
  std::string text;
  for (const std::string& line : comparison.build_differences) text += one_line(line) + "\n";
  for (const std::string& line : comparison.machine_differences) {
    text += fmt::format("times are not compared, {}\n", one_line(line));
  }
  std::map<std::string, Index> reasons;
  for (const CellComparison& cell : comparison.cells) {
    if (!cell.reason.empty()) ++reasons[cell.reason];
  }
  for (const auto& [reason, count] : reasons) {
    text += fmt::format("{} not comparable: {}\n", count, reason);
  }
  for (const auto& [name, only] :
       {std::pair("first", &comparison.only_before), {"second", &comparison.only_after}}) {
    if (!only->empty()) text += fmt::format("{} only in the {} run\n", only->size(), name);
  }
  const bool few = std::ranges::any_of(comparison.cells, [](const CellComparison& cell) {
    return cell.verdict == Verdict::too_few_rounds;
  });
  if (few) {
    text += fmt::format("too few rounds for so many cells: {} on each side are needed\n",
                        comparison.rounds_needed);
  }
  return text;
}

std::map<std::string_view, Index> count_verdicts(const Comparison& comparison) {
  std::map<std::string_view, Index> counts;
  for (const CellComparison& cell : comparison.cells) ++counts[to_string(cell.verdict)];
  return counts;
}

std::string summary(const Comparison& comparison, const CompareSettings& settings) {
  std::vector<std::string> parts;
  for (const auto& [name, count] : count_verdicts(comparison)) {
    parts.push_back(fmt::format("{} {}", count, name));
  }
  const bool changed = std::ranges::any_of(
      comparison.cells, [](const CellComparison& cell) { return !cell.changes.empty(); });
  return fmt::format(
      "{} cells in both runs: {}; {}. Exact Mann-Whitney test on medians of rounds, Holm over "
      "cells, alpha {}, changes below {} % ignored.\n",
      comparison.cells.size(), fmt::join(parts, ", "),
      changed ? "errors, workspace or status changed as listed"
              : "errors, workspace and status the same",
      exact(settings.alpha), exact(100 * settings.min_effect));
}

nlohmann::json number(const std::optional<Estimate>& estimate) {
  if (!estimate) return nullptr;
  return {{"value", estimate->value}, {"low", estimate->low}, {"high", estimate->high}};
}

}  // namespace

std::string comparison_text(const Comparison& comparison, const CompareSettings& settings) {
  std::string text = table(comparison);
  for (const std::string& part :
       {changes(comparison), remarks(comparison), summary(comparison, settings)}) {
    if (!part.empty()) text += "\n" + part;
  }
  return text;
}

std::string comparison_json(const Comparison& comparison, const CompareSettings& settings) {
  const ShortLabels labels = labels_of(comparison);
  nlohmann::json cells = nlohmann::json::array();
  for (const CellComparison& cell : comparison.cells) {
    nlohmann::json changed = nlohmann::json::array();
    for (const Change& change : cell.changes) {
      changed.push_back({{"worse", change.worse}, {"text", change_text(cell, change)}});
    }
    cells.push_back({{"cell_id", cell.before->cell.id},
                     {"input", cell.before->cell.input.label},
                     {"label", labels.of(cell.before->cell)},
                     {"key_len", cell.before->cell.problem.key_len},
                     {"first_s", number(cell.before->time_s)},
                     {"second_s", number(cell.after->time_s)},
                     {"ratio", number(cell.ratio)},
                     {"p_adjusted", cell.p ? nlohmann::json(*cell.p) : nlohmann::json()},
                     {"verdict", to_string(cell.verdict)},
                     {"reason", cell.reason},
                     {"changes", changed}});
  }
  const nlohmann::json all = {{"alpha", settings.alpha},
                              {"min_effect", settings.min_effect},
                              {"regressed", comparison.regressed()},
                              {"rounds_needed", comparison.rounds_needed},
                              {"only_in_first", comparison.only_before.size()},
                              {"only_in_second", comparison.only_after.size()},
                              {"machine_differences", comparison.machine_differences},
                              {"build_differences", comparison.build_differences},
                              {"cells", cells}};
  return all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace longattn
