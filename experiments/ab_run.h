#pragma once

#include <array>
#include <string>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// Two builds to measure on the same cells.
struct AbOrders {
  std::array<std::string, 2> programs;  ///< each a longattn; without a slash looked for in PATH
  std::string config;
  std::vector<std::string> overrides;  ///< of the config, as `--set` takes them
  Index rounds = 9;
  std::string folder;  ///< new, for everything measured; empty: results/ab/<UTC time>
};

/// What they measured, as if each had made one run of all rounds.
struct AbResults {
  RunResults first, second;
};

/// Has each program `run` the config for one timing round after the other, in turn: first second,
/// second first, first second ..., so that what changes on the machine meets both. Errors, memory
/// and status come from the first round, in which alone they are measured. Uses nothing of a build
/// but its command line and its journal: other versions may be compared.
///
/// Leaves first/round-1, second/round-1 ... in the folder, each the folder of a run, and beside it
/// what the program said. Throws Error that names the program when one cannot be started or does
/// not complete its run, and as RunFolder and results_from_folder do.
AbResults run_ab(const AbOrders& orders);

}  // namespace longattn
