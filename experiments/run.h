#pragma once

#include <atomic>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "experiments/cell.h"
#include "experiments/config/experiment.h"
#include "experiments/plan.h"
#include "experiments/shard.h"

namespace longattn {

/// Where a run writes, and how it is repeated.
struct RunSettings {
  std::string folder;                  ///< empty: results/<experiment>/<UTC time>
  std::string command;                 ///< that repeats it
  std::vector<std::string> overrides;  ///< of the config, as read_experiment had them
  RunShard shard;                      ///< cells of other shards are skipped
  Index max_failures = 0;              ///< end after so many cells have failed; 0: never
};

/// What has become of a run.
struct RunOutcome {
  RunResults results;
  Index measured = 0, planned = 0;  ///< measurements, by this process
  Index disturbed_rounds = 0;       ///< of timing, by this process; see CellResult
  bool failed_too_often = false;    ///< ended by max_failures
  std::string time_spent;           ///< one line: by what, and the harness's own share
};

/// Runs a plan to its end, one worker process per measurement, and leaves in the folder:
/// journal.jsonl (everything measured, as it is measured) and config.yaml (a copy).
///
/// Order: experiments/measuring.h. Failures become rows and the run goes on. When `stop` becomes
/// non-zero (a signal's number) the current worker is ended, what is there is reported, and the
/// function returns.
///
/// Progress goes to standard error. Throws CreateError when the folder cannot be made or is not
/// empty, InUseError when another run writes there, IoError when writing fails.
RunOutcome run_experiment(const Experiment& experiment, const std::vector<PlannedCell>& plan,
                          const RunSettings& settings, const std::atomic<int>& stop);

/// Goes on with the run in a folder, from its journal: what is there stays, what is missing is
/// measured. `config` is the file to hold the recorded one against; by default the one it was read
/// from, if that still exists. Makes the folder in which the run began the working folder. Throws
/// like run_experiment; Error, with what differs, when the build, the machine, the config or a file
/// that was read is not what it was; DataError when the journal is damaged.
RunOutcome resume_run(const std::string& folder, const std::optional<std::string>& config,
                      std::span<const Variant* const> variants, Index max_failures,
                      const std::atomic<int>& stop);

}  // namespace longattn
