#pragma once

#include <string>
#include <vector>

#include "experiments/config/experiment.h"
#include "experiments/config/reader.h"

namespace longattn {

/// Reads `inputs` and `problem` of a config: every input at every length, in that order. Mistakes
/// become diagnostics. Of each trace the tensors are read, because shapes, type, scale and
/// causality come from there. `experiment` has its path and its limits already.
std::vector<ProblemRequest> read_problems(const YamlNode& root, const Experiment& experiment,
                                          ConfigReader& reader);

}  // namespace longattn
