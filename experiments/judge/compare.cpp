#include "experiments/judge/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "experiments/judge/two_samples.h"

namespace longattn {
namespace {

// Facts of the provenance without which times are of different things.
constexpr std::array kMachine = {"processor", "cores", "vector instructions", "build"};
constexpr std::array kBuild = {"longattn", "compiler", "system"};

std::string fact(const RunResults& results, std::string_view name) {
  for (const auto& [key, value] : results.provenance) {
    if (key == name) return value;
  }
  return "unknown";
}

template <size_t n>
std::vector<std::string> differences(const RunResults& before, const RunResults& after,
                                     const std::array<const char*, n>& names) {
  std::vector<std::string> lines;
  for (const char* name : names) {
    const std::string a = fact(before, name), b = fact(after, name);
    if (a != b) lines.push_back(fmt::format("{}: {}, then {}", name, a, b));
  }
  return lines;
}

std::vector<Change> compare_figures(const CellResult& before, const CellResult& after) {
  std::vector<Change> changes;
  if (before.status != after.status) {
    changes.push_back({Change::Figure::status, before.status == Status::ok});
  }
  const auto &e = before.relative_error, &f = after.relative_error;
  if (e && f && e->value != f->value) {
    changes.push_back({Change::Figure::relative_error, f->value > e->value});
  }
  const auto &v = before.workspace_bytes, &w = after.workspace_bytes;
  if (v && w && *v != *w) changes.push_back({Change::Figure::workspace, *w > *v});
  return changes;
}

Verdict judge_time(const CellComparison& cell, const CompareSettings& settings) {
  const double most = 1 + settings.min_effect, least = 1 / most;
  const Estimate& ratio = *cell.ratio;
  if (ratio.low >= least && ratio.high <= most) return Verdict::equivalent;
  if (*cell.p <= settings.alpha) {
    if (ratio.low > most) return Verdict::slower;
    if (ratio.high < least) return Verdict::faster;
  }
  return Verdict::no_evidence;
}

void compare_times(std::vector<CellComparison>& cells, const CompareSettings& settings) {
  std::vector<CellComparison*> timed;
  std::vector<double> p;
  for (CellComparison& cell : cells) {
    if (!cell.reason.empty()) continue;
    const auto &a = cell.before->round_seconds, &b = cell.after->round_seconds;
    cell.ratio = ratio_of_samples(a, b);
    timed.push_back(&cell);
    p.push_back(mann_whitney(a, b));
  }
  const std::vector<double> adjusted = holm(p);
  for (size_t n = 0; n < timed.size(); ++n) {
    CellComparison& cell = *timed[n];
    cell.p = adjusted[n];
    const double smallest =
        smallest_mann_whitney(static_cast<Index>(cell.before->round_seconds.size()),
                              static_cast<Index>(cell.after->round_seconds.size()));
    cell.verdict = smallest * static_cast<double>(timed.size()) > settings.alpha
                       ? Verdict::too_few_rounds
                       : judge_time(cell, settings);
  }
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  constexpr std::array kNames = {"faster",      "slower",         "equivalent",
                                 "no evidence", "too few rounds", "not comparable"};
  return kNames[static_cast<size_t>(verdict)];
}

bool Comparison::regressed() const {
  return std::ranges::any_of(cells, [](const CellComparison& cell) {
    return cell.verdict == Verdict::slower || std::ranges::any_of(cell.changes, &Change::worse);
  });
}

Comparison compare_runs(const RunResults& before, const RunResults& after,
                        const CompareSettings& settings) {
  Comparison comparison;
  comparison.machine_differences = differences(before, after, kMachine);
  comparison.build_differences = differences(before, after, kBuild);
  Index timed = 0;
  for (const CellResult& a : before.cells) {
    const CellResult* b = after.find(a.cell.id);
    if (b == nullptr) {
      comparison.only_before.push_back(&a);
      continue;
    }
    CellComparison cell;
    cell.before = &a;
    cell.after = b;
    cell.changes = compare_figures(a, *b);
    const bool first = !a.round_seconds.empty(), second = !b->round_seconds.empty();
    if (!first || !second) {
      cell.reason = fmt::format("no time in {}", first    ? "the second run"
                                                 : second ? "the first run"
                                                          : "either run");
    } else if (!comparison.machine_differences.empty()) {
      cell.reason = "another machine or kind of build";
    } else {
      ++timed;
    }
    comparison.cells.push_back(std::move(cell));
  }
  for (const CellResult& b : after.cells) {
    if (before.find(b.cell.id) == nullptr) comparison.only_after.push_back(&b);
  }
  compare_times(comparison.cells, settings);
  while (smallest_mann_whitney(comparison.rounds_needed, comparison.rounds_needed) *
             static_cast<double>(timed) >
         settings.alpha) {
    ++comparison.rounds_needed;
  }
  return comparison;
}

}  // namespace longattn
