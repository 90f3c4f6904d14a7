#pragma once

#include <string>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// Writes into `folder`, which must be new or empty, the journal that one run of all shards would
/// have left: each cell from the shard that measured it, in plan order. What is amiss but does not
/// spoil figures (a shard that is missing or did not end) goes to `remarks`, a sentence each.
/// Throws Error, with what differs, when the folders are not shards of one experiment, build and,
/// where time is measured, machine; DataError and IoError when a journal cannot be read.
RunResults merge_runs(const std::vector<std::string>& shards, const std::string& folder,
                      std::vector<std::string>& remarks);

}  // namespace longattn
