#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "experiments/cell.h"
#include "experiments/config/experiment.h"
#include "experiments/plan.h"

namespace longattn {

/// Where a run writes, and how it is repeated.
struct RunSettings {
  std::string folder;   ///< empty: results/<experiment>/<UTC time>-<id>
  std::string command;  ///< as typed
};

/// Runs a plan to its end, one worker process per measurement, and leaves in the folder:
/// journal.jsonl (everything measured, as it is measured) and config.yaml (a copy).
///
/// Order: the error pass of every cell; memory and pattern of those that passed; then rounds of
/// timing, interleaved over cells in an order drawn from the seed. Failures become rows and the run
/// goes on. When `stop` becomes non-zero (a signal's number) the current worker is ended, what is
/// there is reported, and the function returns.
///
/// Progress goes to standard error. Throws CreateError when the folder cannot be made or is not
/// empty, InUseError when another run writes there, IoError when writing fails.
RunResults run_experiment(const Experiment& experiment, const std::vector<PlannedCell>& plan,
                          const RunSettings& settings, const std::atomic<int>& stop);

}  // namespace longattn
