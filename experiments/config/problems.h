#pragma once

#include <string>
#include <vector>

#include "experiments/config/experiment.h"
#include "experiments/config/reader.h"

namespace longattn {

/// Reads `inputs` and `problem` of a config: every input in every shape at every length, in that
/// order. Mistakes become diagnostics. More than `most` of them are refused.
std::vector<ProblemRequest> read_problems(const YamlNode& root, Index most, ConfigReader& reader);

}  // namespace longattn
