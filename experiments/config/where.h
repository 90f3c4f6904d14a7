#pragma once

#include <span>
#include <vector>

#include "experiments/config/experiment.h"
#include "experiments/config/reader.h"

namespace longattn {

/// The combinations of problems, variants and threads that `where` keeps: all but those for which
/// the condition is false. Names in it are
///
///     variant, input (its label), layer, temperature, threads, length (that of the keys),
///     query_len, key_len, batch, num_heads, num_kv_heads, head_dim, value_dim, dtype, causal,
///     scale
///
/// and the options of the variants; an option that a variant does not have, and the layer of what
/// is no trace, are unknown there (expression.h). `node` may be nullptr: all are kept. Mistakes
/// become diagnostics at their place in the condition.
std::vector<CellRequest> read_cells(const YamlNode* node, const Experiment& experiment,
                                    std::span<const Variant* const> table, ConfigReader& reader);

}  // namespace longattn
