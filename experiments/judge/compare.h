#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

struct CompareSettings {
  double alpha = 0.05;       ///< family-wise, over all cells compared
  double min_effect = 0.05;  ///< changes of time below this are of no interest; 0.05: 5 %
};

/// What the rounds of two runs say about the time of one cell:
///
///   faster, slower   the rank-sum test rejects equality (p by Holm <= alpha), and the whole 95 %
///                    interval of the ratio lies beyond the minimum effect
///   equivalent       the whole interval of the ratio lies within the minimum effect
///   no_evidence      neither
///   too_few_rounds   no figures could have been significant: the smallest p that so many rounds
///                    can give, times the number of cells, is above alpha
///   not_comparable   no time on one side, or not the same machine or kind of build
enum class Verdict { faster, slower, equivalent, no_evidence, too_few_rounds, not_comparable };
std::string_view to_string(Verdict verdict);

/// What is the same in every repeat, and was not the same in both runs.
struct Change {
  enum class Figure { status, relative_error, workspace } figure = Figure::status;
  bool worse = false;  ///< no longer ok, or larger
};

struct CellComparison {
  const CellResult* before = nullptr;
  const CellResult* after = nullptr;
  Verdict verdict = Verdict::not_comparable;
  std::string reason;             ///< of not_comparable
  std::optional<Estimate> ratio;  ///< time after / before, 95 % interval
  std::optional<double> p;        ///< adjusted for the number of cells
  std::vector<Change> changes;
};

struct Comparison {
  std::vector<CellComparison> cells;  ///< in the plan order of the first run
  std::vector<const CellResult*> only_before, only_after;
  std::vector<std::string> machine_differences;  ///< "processor: X, then Y": no time is compared
  std::vector<std::string> build_differences;    ///< for the reader; what a comparison is for
  Index rounds_needed = 0;  ///< on each side, for any verdict among so many cells

  bool regressed() const;  ///< a slower cell, or a change for the worse
};

/// Matches cells by id: the same variant, options, problem, input, seed and threads. Times: exact
/// Mann-Whitney on the medians of rounds (the rounds are what is independent), Holm over cells.
/// Relative error, counted workspace and status do not vary between repeats and are compared
/// exactly. Points into both results.
Comparison compare_runs(const RunResults& before, const RunResults& after,
                        const CompareSettings& settings);
Comparison compare_runs(RunResults&&, const RunResults&, const CompareSettings&) = delete;
Comparison compare_runs(const RunResults&, RunResults&&, const CompareSettings&) = delete;
Comparison compare_runs(RunResults&&, RunResults&&, const CompareSettings&) = delete;

}  // namespace longattn
