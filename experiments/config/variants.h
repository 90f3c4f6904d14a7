#pragma once

#include <span>
#include <vector>

#include "experiments/config/experiment.h"
#include "experiments/config/reader.h"

namespace longattn {

/// Reads the `variants` list: each entry a name, or a map of one name to its options, in which
/// `sweep` maps options to lists of values and stands for their product. More than `most` settings
/// in all are counted and refused before they are made. Mistakes become diagnostics.
std::vector<VariantRequest> read_variants(const YamlNode& list,
                                          std::span<const Variant* const> table, Index most,
                                          ConfigReader& reader);

}  // namespace longattn
