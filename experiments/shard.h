#pragma once

#include <string>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// One of several runs that share an experiment: "2/3".
struct RunShard {
  Index index = 1, count = 1;  ///< 1 <= index <= count
};
std::string to_string(const RunShard& shard);
/// Throws OptionError unless the text is i/n with 1 <= i <= n.
RunShard shard_from_string(const std::string& text);

/// For each cell the index of the shard that measures it. Cells of one input at one length are
/// compared with each other and stay together; such groups are dealt out in turn.
std::vector<Index> shard_of_cells(const std::vector<Cell>& cells, Index count);

/// Why a cell of another shard has no figures.
std::string left_to(const RunShard& other);

}  // namespace longattn
