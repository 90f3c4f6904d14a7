#pragma once

#include <vector>

#include "experiments/config/experiment.h"
#include "experiments/config/reader.h"

namespace longattn {

/// One entry of `inputs`, before it meets `problem`.
struct InputRequest {
  InputSpec spec;
  Problem problem{};               ///< of a trace: its shapes, type, scale and causality
  const YamlNode* node = nullptr;  ///< for messages

  bool is_trace() const { return spec.is_trace(); }
};

/// Reads the `inputs` list: each entry a trace or a generator, and one or more settings of it
/// (settings.h). Of each trace the tensors are read. More than `most` inputs are refused. Mistakes
/// become diagnostics.
std::vector<InputRequest> read_inputs(const YamlNode& list, Index most, ConfigReader& reader);

}  // namespace longattn
