#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/variant.h"
#include "experiments/cell.h"
#include "experiments/config/experiment.h"

namespace longattn {

/// One cell of an experiment, with what is known before it runs.
struct PlannedCell {
  Cell cell;
  const Variant* variant = nullptr;
  Options options;
  std::string unsupported;   ///< the variant's reason, or empty
  std::string skipped;       ///< why it is not started, with the figures, or empty
  std::optional<Cost> cost;  ///< predicted; empty if unsupported
  double tensors_bytes = 0;  ///< of inputs and outputs
  std::vector<PlanFigure> figures;
  Traits traits;
  Growth growth;

  /// All memory that a forward pass needs; 0 without a cost.
  double needed_bytes() const {
    return cost ? cost->workspace_bytes + cost->held_bytes + tensors_bytes : 0;
  }
};

/// Of an input's content: the bytes of a trace as they are now, or what its generator is asked for.
/// Throws IoError.
std::string content_hash(const InputSpec& input);

/// Sets what a cell is known by: the hash of its input's content, and its id, that of everything
/// that determines its numbers. Files that have been read before are found in `files` (path to
/// hash). Throws IoError.
void identify(Cell& cell, const VariantRequest& request, std::uint64_t seed,
              std::map<std::string, std::string>& files);

/// Every combination, in the order input, length, variant, threads. A cell whose predicted memory
/// (PlannedCell::needed_bytes) exceeds the limit is marked skipped. Throws like read_trace when
/// a trace has changed since the config was read.
std::vector<PlannedCell> make_plan(const Experiment& experiment);

}  // namespace longattn
