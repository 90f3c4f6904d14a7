#pragma once

#include <string>
#include <vector>

#include "experiments/cluster_outlook.h"
#include "experiments/config/experiment.h"

namespace longattn {

/// A ring that is predicted, and then run: by the model's own plan, on this machine.
///
/// With `transport: thread` the clusters of the config are acted out: each rank is a thread,
/// whose messages take what the links would (ShapedNetwork), and whose steps, computed for real,
/// take what the rate says (work_seconds): the rest of the time it sleeps. So the ranks may be more
/// than the cores, as long as the stated rate is far enough below theirs. What is put to the test
/// is the algorithm, the plan and the model of both, not the machine.
///
/// With `transport: mpi` the ranks are processes, not slowed down, and the cluster is this machine
/// as two ranks of another problem found it (calibrate_ranks).
struct Rehearsal {
  const ProblemRequest* problem = nullptr;
  const VariantRequest* ring = nullptr;
  ClusterOutlook outlook;
  bool processes = false;
  std::string failure;          ///< why it was not run; one sentence
  std::vector<double> seconds;  ///< of each pass, that of its slowest rank; a first one is not told
  Index steps = 0;              ///< of all passes and ranks, in which there was work
  Index late_steps = 0;  ///< of these, that took longer to compute than the cluster's rate says
};

/// Two ranks of this machine, started by the config's launcher. Throws Error with what they say.
ClusterRequest calibrated_cluster(const Experiment& experiment, const Problem& like);

/// What is to be rehearsed, in the order problem, setting, cluster, ranks, with its prediction.
/// `calibrated` is the cluster of rings over MPI; without it, none of these.
std::vector<Rehearsal> rehearsals(const Experiment& experiment, const ClusterRequest* calibrated);
/// Whether the config has a ring over MPI, and on which Problem first.
const Problem* first_over_mpi(const Experiment& experiment);

/// Runs one. Threads' outputs are compared with those of a ring in step; that they differ in a bit
/// is a failure, and so is what a rank says. `passes` at least 1.
void rehearse(Rehearsal& rehearsal, const Experiment& experiment, int passes);

}  // namespace longattn
