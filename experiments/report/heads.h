#pragma once

#include <string>
#include <vector>

#include "experiments/report/csv.h"
#include "experiments/report/layout.h"
#include "experiments/report/text_table.h"

namespace longattn {

/// What serves one query head best: of the settings whose error in this head is within the error
/// budget with its whole interval, that with the shortest forward pass. (The pass is that over all
/// heads: a head alone has no time.)
struct HeadChoice {
  const Series* series = nullptr;      ///< nothing: none of those measured
  const CellResult* result = nullptr;  ///< its cell
  bool approximation = false;          ///< some approximation is within the budget
};
/// Of each head of a block at a length; empty where no heads are judged there.
std::vector<HeadChoice> head_choices(const Block& block, Index length);

/// "Within a relative error of 1 % at 2,048 tokens ...: head 3 longformer window=128 (0.8 %, 0.11
/// of full's time); heads 0, 5: none of the approximations measured; exact by blockwise (0.3 of
/// full's time)". Where too few rows are sampled of each head, that; nothing where there is no
/// approximation, or one head only.
std::string heads_sentence(const Block& block);

/// A row per head at the longest length: what it does in full attention, and what serves it best.
TextTable heads_overview(const Block& block);

/// heads.csv: a row per cell and head, its error and what its head does in full attention.
ResultTable heads_table(const RunResults& results);

}  // namespace longattn
