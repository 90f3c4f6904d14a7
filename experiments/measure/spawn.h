#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "experiments/cell.h"

namespace longattn {

/// Limits of one worker process.
struct WorkerLimits {
  double time_s = 60;
  double memory_bytes = 8e9;  ///< of its data segment and private mappings, thread stacks added
  int threads = 1;
};

/// Words of a command that starts this program as ranks: "mpirun", "-n", "4". `{ranks}` has been
/// filled in.
using Launcher = std::vector<std::string>;
/// Of what a config says: "mpirun -n {ranks}".
Launcher launcher_of(const std::string& text, int ranks);

/// How a worker ended.
struct WorkerOutcome {
  Status status = Status::ok;  ///< ok, oom, timeout or crash
  std::string reason;          ///< one sentence; empty when ok
  std::string output;          ///< what it wrote to its result pipe
  std::string log;             ///< end of its standard error, at most 4 KiB
  double elapsed_s = 0;
  bool interrupted = false;  ///< ended by `stop`
};

// File descriptors that a worker finds open.
inline constexpr int kWorkerInputs = 3, kWorkerResult = 4;

/// Runs this very program as `__worker` in a process of its own: request on standard input, shared
/// inputs on descriptor 3, result on descriptor 4. Its own process group, killed as a whole at the
/// time limit (SIGTERM, one second later SIGKILL), when `stop` becomes non-zero, and when the
/// parent dies. Throws IoError when no process can be made.
WorkerOutcome run_worker(const std::string& request, int inputs, const WorkerLimits& limits,
                         const std::atomic<int>& stop);

/// The same with `LAUNCHER program __rank`: the launcher has the request on standard input, which
/// it hands to rank 0, and its standard output is that of rank 0 (rank_worker.h). Ranks keep the
/// memory limit themselves. Also ended as a whole, which the launcher has some more time for; and
/// so is a launcher that does not end though a rank has said why it failed. The reason of a failure
/// is what the ranks and the launcher say of it.
WorkerOutcome run_ranks(const std::string& request, const Launcher& launcher,
                        const WorkerLimits& limits, const std::atomic<int>& stop);

}  // namespace longattn
