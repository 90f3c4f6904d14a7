#pragma once

#include <string>
#include <vector>

#include "experiments/report/layout.h"

namespace longattn {

/// A picture has at most so many curves: for more there is no room for their numbers at its edge,
/// nor markers and colours to tell them apart by.
inline constexpr size_t kCurves = 24;
/// A page has every row of a run of at most so many, and a part of a larger one.
inline constexpr size_t kPageRows = 400;

/// Some of the series and lengths of a block; whole() leads back to all of it. Series: the first of
/// every variant, then those on the front of error, time and workspace at the longest length, then
/// the others, in equal steps through the plan where not all find room. Lengths: the shortest, the
/// longest and as many between them, in equal steps of their logarithm. A series keeps besides
/// these its longest cell, and its longest one with a result.
Block part_of(const Block& block, size_t series, size_t lengths);

/// "24 of 1,000 settings and 9 of 500 lengths"; empty of a block that is whole.
std::string part_text(const Block& block);

/// What a page shows of a run.
struct PagePart {
  std::vector<Block> blocks;  ///< the first ones, in parts where the run is large
  size_t drawn_blocks = 0;    ///< of these have pictures: the first ones
  size_t rows = 0, all_rows = 0, all_blocks = 0;

  bool is_whole() const { return rows == all_rows; }
};
/// `all` must outlive the answer.
PagePart page_part(const std::vector<Block>& all);

}  // namespace longattn
