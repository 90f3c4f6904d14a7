#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/config/experiment.h"

namespace longattn {

/// What the model says of one ring on one cluster. Nothing in it was measured there.
struct ClusterOutlook {
  const ClusterRequest* cluster = nullptr;
  const Problem* problem = nullptr;
  std::string setting;  ///< layout, and the variant's options that differ from their defaults
  int ranks = 0;
  bool gathered = false;                    ///< blocks are, instead of going round
  std::string unsupported;                  ///< the reason, and then nothing below
  RingForecast forecast;                    ///< of one forward pass
  double memory_bytes = 0, sent_bytes = 0;  ///< of the rank with the most (RingPlan)
  double overlap = 1;                       ///< RingForecast::overlap; 1: nothing to hide
  std::optional<double> knee;               ///< ranks (ring_model.h)
  /// Ranks over the most that were measured; empty: nothing was.
  std::optional<double> extrapolation;
  /// That a host fails during the pass: 1 - exp(-hosts T / mtbf).
  std::optional<double> failure_probability;

  /// Whether computing alone takes at least as long as exchanging alone.
  bool compute_bound() const { return forecast.computing >= forecast.exchange; }
};

/// Of so many ranks. The outlook points to the Problem and to the cluster.
ClusterOutlook cluster_outlook(const Problem& problem, const VariantRequest& request,
                               const ClusterRequest& cluster, int ranks);

/// Every cluster and number of ranks, of every problem and setting of ring in the experiment, in
/// the order problem, setting, cluster, ranks. The outlooks point into the experiment.
std::vector<ClusterOutlook> cluster_outlooks(const Experiment& experiment);

/// What no prediction here rests on a measurement of, one clause each.
std::vector<std::string> never_measured(const std::vector<ClusterOutlook>& outlooks);

}  // namespace longattn
