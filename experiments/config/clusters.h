#pragma once

#include <vector>

#include "experiments/config/experiment.h"
#include "experiments/config/reader.h"

namespace longattn {

/// Reads the `clusters` list (keys.h). Mistakes become diagnostics, among them a link that messages
/// take and of which nothing is said.
std::vector<ClusterRequest> read_clusters(const YamlNode& list, ConfigReader& reader);

}  // namespace longattn
