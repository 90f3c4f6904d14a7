#pragma once

#include <span>
#include <vector>

#include "experiments/config/experiment.h"
#include "experiments/config/reader.h"

namespace longattn {

/// Reads the `variants` list: each entry a name, or a map of one name to its options, which stands
/// for one or more settings (settings.h). More than `most` settings in all are refused. Mistakes
/// become diagnostics.
std::vector<VariantRequest> read_variants(const YamlNode& list,
                                          std::span<const Variant* const> table, Index most,
                                          ConfigReader& reader);

}  // namespace longattn
