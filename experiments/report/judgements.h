#pragma once

#include <string>
#include <vector>

#include "experiments/judge/pareto.h"
#include "experiments/report/layout.h"
#include "experiments/report/text_table.h"

namespace longattn {

// What the figures of a block decide, in sentences; none where a block cannot tell.

/// "The cheapest way at 4,096 tokens to a relative error of at most 10 %: longformer window=512
/// (3.1 ms ±2%); 1 %: blockwise (31 ms ±1%, tied with ring)." An error counts as at most that when
/// its whole interval is, and times are tied where their intervals overlap.
std::string equal_error_sentence(const Block& block);

/// From which length on each is faster than `full` and than `blockwise`, and takes less workspace
/// than these; and from which on it is faster than `full` and within the error budget.
std::vector<std::string> crossover_sentences(const Block& block);

/// How each setting that has an error, a time and a workspace at a length stands to the others
/// there, of a part to all that was measured. Null baselines are left out: what looks at no key is
/// cheap and of no use.
struct SeriesStanding {
  const Series* series;
  const CellResult* result;
  Standing standing;
};
std::vector<SeriesStanding> standings(const Block& block, Index length);
/// "front", "tied", "beaten".
std::string_view to_string(Standing standing);

/// A row per setting, a column per length: its standing there.
TextTable pareto_overview(const Block& block);

/// Which settings no other one is better than in error, time and workspace together, at the longest
/// length at which all three are known.
std::string pareto_sentence(const Block& block);

/// Which are no better than the mean of the values; empty where all are better.
std::string useless_sentence(const Block& block);

}  // namespace longattn
