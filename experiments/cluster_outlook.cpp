#include "experiments/cluster_outlook.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "variants/ring/ring.h"

namespace longattn {
namespace {

// "zigzag, wire bfloat16": the plan's choices where the options leave them open.
std::string setting_of(const VariantRequest& request, const RingPlan& plan) {
  std::string text(to_string(plan.layout().value()));
  if (plan.settings().all_gather) text += ", all_gather";
  for (const char* name : {"window", "wire"}) {
    if (request.options.is_automatic(name)) continue;
    text += fmt::format(", {} {}", name, to_text(request.options.value(name)));
  }
  return text;
}

}  // namespace

ClusterOutlook cluster_outlook(const Problem& problem, const VariantRequest& request,
                               const ClusterRequest& cluster, int ranks) {
  ClusterOutlook outlook;
  outlook.cluster = &cluster;
  outlook.problem = &problem;
  outlook.ranks = ranks;
  const Cluster machines = cluster.of(ranks);
  try {
    const RingPlan plan = ring_plan(problem, request.options, machines, ranks, cluster.depth);
    outlook.setting = setting_of(request, plan);
    outlook.gathered = plan.settings().all_gather;
    outlook.forecast = forecast(plan, machines);
    outlook.overlap = outlook.forecast.overlap().value_or(1);
    outlook.knee = knee(plan, machines);
    for (int rank = 0; rank < ranks; ++rank) {
      outlook.memory_bytes =
          std::max(outlook.memory_bytes, static_cast<double>(plan.memory_bytes(rank)));
      outlook.sent_bytes = std::max(outlook.sent_bytes, static_cast<double>(plan.bytes_sent(rank)));
    }
  } catch (const ProblemError& error) {
    outlook.unsupported = error.what();
    return outlook;
  }
  if (cluster.measured_ranks) {
    outlook.extrapolation = static_cast<double>(ranks) / *cluster.measured_ranks;
  }
  if (cluster.mtbf_s) {
    const double hosts = std::ceil(static_cast<double>(ranks) / machines.ranks_per_host);
    outlook.failure_probability = -std::expm1(-hosts * outlook.forecast.total / *cluster.mtbf_s);
  }
  return outlook;
}

std::vector<ClusterOutlook> cluster_outlooks(const Experiment& experiment) {
  std::vector<ClusterOutlook> outlooks;
  std::set<std::pair<size_t, size_t>> done;  // cells differ in threads too
  for (const CellRequest& cell : experiment.cells) {
    const VariantRequest& request = experiment.variants[cell.variant];
    if (request.variant->name != kRing.name || !done.insert({cell.problem, cell.variant}).second) {
      continue;
    }
    const Problem& problem = experiment.problems[cell.problem].problem;
    for (const ClusterRequest& cluster : experiment.clusters) {
      for (int ranks : cluster.ranks) {
        outlooks.push_back(cluster_outlook(problem, request, cluster, ranks));
      }
    }
  }
  return outlooks;
}

std::vector<std::string> never_measured(const std::vector<ClusterOutlook>& outlooks) {
  std::vector<std::string> terms;
  const auto any = [&](auto holds) {
    return std::ranges::any_of(
        outlooks, [&](const ClusterOutlook& outlook) { return holds(*outlook.cluster); });
  };
  if (any([](const ClusterRequest& c) { return !c.measured_ranks; })) {
    terms.emplace_back("the rate of a rank, as the config gives it");
  }
  if (any([](const ClusterRequest& c) { return c.ranks.back() > c.cluster.ranks_per_host; })) {
    terms.emplace_back("latency and bandwidth of the network, as the config gives them");
    terms.emplace_back("what hosts lose to each other in a switch");
  }
  if (any([](const ClusterRequest& c) { return c.cluster.contention == 0; })) {
    terms.emplace_back("what communication takes of computing (contention 0 is assumed)");
  }
  terms.emplace_back(any([](const ClusterRequest& c) {
    return c.cluster.jitter > 0 || c.cluster.stall_probability > 0;
  })
                         ? "jitter and stalls, as the config gives them"
                         : "jitter, stalls and slow hosts (none are assumed)");
  terms.emplace_back("failures of hosts, and what a pass that starts again costs");
  if (any([](const ClusterRequest& c) { return c.depth != RingSettings{}.depth; })) {
    terms.emplace_back("room for more or fewer than two blocks");
  }
  return terms;
}

}  // namespace longattn
