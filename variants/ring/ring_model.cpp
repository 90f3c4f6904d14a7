#include "variants/ring/ring_model.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/random.h"

namespace longattn {
namespace {

using Seconds = std::vector<double>;  // of each rank

constexpr double kNone = -1;  // of a transfer: there is none

// Which host a rank is on, and what the ways out of it are worth.
class Wiring {
 public:
  Wiring(const Cluster& cluster, int ranks)
      : cluster_(cluster),
        ranks_(ranks),
        hosts_((ranks + cluster.ranks_per_host - 1) / cluster.ranks_per_host) {}

  Link hop(int rank) const { return between(rank, (rank + 1) % ranks_, false); }
  // As many ranks of a host receive from others as send to others.
  Link between(int from, int to, bool gathered) const {
    if (host_of(from) == host_of(to)) return cluster_.inside;
    if (gathered) return shared(std::min(cluster_.ranks_per_host, ranks_));
    return shared(cluster_.spread ? cluster_.ranks_per_host : 1);
  }

 private:
  int host_of(int rank) const {
    return cluster_.spread ? rank % hosts_ : rank / cluster_.ranks_per_host;
  }
  Link shared(int ranks) const {
    return {cluster_.network.latency, cluster_.network.bandwidth / ranks};
  }

  const Cluster& cluster_;
  const int ranks_, hosts_;
};

// What each rank has to do at a step.
class Work {
 public:
  Work(const RingPlan& plan, const Cluster& cluster)
      : plan_(plan), cluster_(cluster), wiring_(cluster, plan.ranks()) {}

  double compute(int rank, int step) const {
    const double operations = plan_.operations(rank, plan_.origin(rank, step));
    if (operations == 0) return 0;
    const auto index = static_cast<size_t>(rank);
    const double slowness = cluster_.slowness.empty() ? 1 : cluster_.slowness[index];
    return (cluster_.overhead + operations / cluster_.rate) * slowness * chance(rank, step);
  }

  // Of the rank's block to the next rank; kNone: it is not passed on.
  double transfer(int rank, int step) const {
    if (!plan_.sends(rank, step)) return kNone;
    return wiring_.hop(rank).seconds(block_bytes(rank, step));
  }

  // Until the block of a step is there, of a gathering plan, behind that of the step before.
  double arrival(int rank, int step) const {
    const int from = plan_.origin(rank, step);
    if (!plan_.needs(rank, from)) return 0;
    const Link link = wiring_.between(from, rank, true);
    // Messages are under way together: the latency is that of the first.
    return block_bytes(rank, step) / link.bandwidth + (step == 1 ? link.latency : 0);
  }

 private:
  double block_bytes(int rank, int step) const {
    return static_cast<double>(plan_.block_bytes(plan_.origin(rank, step)));
  }

  double chance(int rank, int step) const {
    double factor = 1;
    const auto stream = static_cast<std::uint64_t>(rank);
    const auto counter = static_cast<std::uint64_t>(step);
    if (cluster_.jitter > 0) {
      const CounterRandom random(cluster_.seed, 2 * stream);
      factor = std::exp(cluster_.jitter * random.normal(counter) -
                        cluster_.jitter * cluster_.jitter / 2);
    }
    if (cluster_.stall_probability > 0) {
      const CounterRandom random(cluster_.seed, 2 * stream + 1);
      if (random.uniform(counter) < cluster_.stall_probability) factor *= cluster_.stall_factor;
    }
    return factor;
  }

  const RingPlan& plan_;
  const Cluster& cluster_;
  const Wiring wiring_;
};

// The recurrence of forecast(), a step of all ranks at a time.
class Timeline {
 public:
  Timeline(int ranks, int depth)
      : depth_(depth),
        arrived_(static_cast<size_t>(ranks), 0.0),
        computed_(arrived_),
        sent_(arrived_),
        free_(static_cast<size_t>(depth), arrived_) {}

  void advance(const Seconds& compute, const Seconds& transfer) {
    const size_t ranks = computed_.size();
    start_ = arrived_;
    for (size_t r = 0; r < ranks; ++r) {
      start_[r] = std::max(start_[r], computed_[r]);
      if (depth_ <= 2) start_[r] = std::max(start_[r], sent_[r]);
      computed_[r] = start_[r] + compute[r];
    }
    const Seconds& free = free_[static_cast<size_t>((step_ + 1) % depth_)];  // of step + 1 - depth
    coming_.assign(ranks, 0.0);
    for (size_t r = 0; r < ranks; ++r) {
      if (transfer[r] == kNone) continue;
      const size_t next = (r + 1) % ranks;
      double begin = 0;
      if (depth_ == 1) {
        begin = std::max(computed_[r], computed_[next]);
      } else {
        begin = std::max({depth_ == 2 ? start_[r] : arrived_[r], sent_[r], free[next]});
      }
      coming_[next] = begin + transfer[r];
    }
    for (size_t r = 0; r < ranks; ++r) {
      if (transfer[r] != kNone) sent_[r] = coming_[(r + 1) % ranks];
    }
    Seconds& now = free_[static_cast<size_t>(step_ % depth_)];
    for (size_t r = 0; r < ranks; ++r) now[r] = std::max(computed_[r], sent_[r]);
    arrived_.swap(coming_);
    ++step_;
  }

  // Blocks that come by another way.
  void advance_gathered(const Seconds& compute, const Seconds& arrival) {
    for (size_t r = 0; r < computed_.size(); ++r) {
      arrived_[r] += arrival[r];
      computed_[r] = std::max(computed_[r], arrived_[r]) + compute[r];
    }
  }

  double end() const {
    double latest = 0;
    for (const Seconds* all : {&computed_, &sent_, &arrived_}) {
      latest = std::max(latest, std::ranges::max(*all));
    }
    return latest;
  }

 private:
  const int depth_;
  int step_ = 0;
  Seconds arrived_, computed_, sent_, start_, coming_;
  std::vector<Seconds> free_;  // by step modulo depth
};

double longest(const Seconds& all) { return std::max(std::ranges::max(all), 0.0); }

}  // namespace

RingForecast forecast(const RingPlan& plan, const Cluster& cluster) {
  assert(cluster.rate > 0 && cluster.ranks_per_host >= 1);
  const int ranks = plan.ranks(), depth = plan.settings().depth;
  const bool gathers = plan.settings().all_gather;
  const Work work(plan, cluster);
  Timeline all(ranks, depth), computing(ranks, depth), exchanging(ranks, depth);
  const Seconds nothing(static_cast<size_t>(ranks), 0.0);
  Seconds compute(nothing), slowed(nothing), transfer(nothing), free(nothing);
  RingForecast result;
  result.compute = nothing;
  for (int step = 0; step < ranks; ++step) {
    for (int rank = 0; rank < ranks; ++rank) {
      const auto r = static_cast<size_t>(rank);
      compute[r] = work.compute(rank, step);
      transfer[r] = !gathers ? work.transfer(rank, step) : step > 0 ? work.arrival(rank, step) : 0;
      free[r] = std::min(transfer[r], 0.0);  // kNone stays
    }
    for (size_t r = 0; r < compute.size(); ++r) {
      const size_t previous = (r + compute.size() - 1) % compute.size();
      const double moving = std::max({transfer[r], gathers ? 0 : transfer[previous], 0.0});
      slowed[r] = compute[r] + cluster.contention * std::min(compute[r], moving);
      result.compute[r] += slowed[r];
    }
    if (gathers) {
      all.advance_gathered(slowed, transfer);
      computing.advance_gathered(compute, nothing);
      exchanging.advance_gathered(nothing, transfer);
    } else {
      all.advance(slowed, transfer);
      computing.advance(compute, free);
      exchanging.advance(nothing, transfer);
    }
    const double busiest = longest(slowed), furthest = longest(transfer);
    result.bound += gathers || depth == 1 ? busiest + furthest : std::max(busiest, furthest);
  }
  result.total = all.end();
  result.computing = computing.end();
  result.exchange = exchanging.end();
  for (double own : result.compute) result.wait.push_back(result.total - own);
  return result;
}

double work_seconds(const RingPlan& plan, const Cluster& cluster, int rank, int step) {
  return Work(plan, cluster).compute(rank, step);
}

Link link_between(const Cluster& cluster, int ranks, int from, int to, bool gathered) {
  return Wiring(cluster, ranks).between(from, to, gathered);
}

double RingForecast::efficiency() const {
  const double sum = std::accumulate(compute.begin(), compute.end(), 0.0);
  return total > 0 ? sum / (static_cast<double>(compute.size()) * total) : 1;
}

double RingForecast::exposed() const { return total > 0 ? 1 - computing / total : 0; }

std::optional<double> RingForecast::overlap() const {
  const double shorter = std::min(computing, exchange);
  if (!(shorter > 0)) return std::nullopt;
  return 1 - (total - std::max(computing, exchange)) / shorter;
}

std::optional<double> knee(const RingPlan& plan, const Cluster& cluster) {
  if (plan.settings().window) return std::nullopt;
  double operations = 0, bytes = 0;
  Link slowest{0, std::numeric_limits<double>::infinity()};
  const Wiring wiring(cluster, plan.ranks());
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    for (int origin = 0; origin < plan.ranks(); ++origin) {
      operations += plan.operations(rank, origin);
    }
    const auto block = static_cast<double>(plan.block_bytes(rank));
    bytes += block;
    const Link link = wiring.hop(rank);
    if (plan.ranks() > 1 && link.seconds(block) > slowest.seconds(block)) slowest = link;
  }
  const double seconds = operations / cluster.rate, moving = bytes / slowest.bandwidth;
  if (!(slowest.latency > 0)) {
    return moving > 0 ? seconds / moving : std::numeric_limits<double>::infinity();
  }
  // Of the two forms of the root the one that does not cancel.
  return 2 * seconds / (moving + std::sqrt(moving * moving + 4 * slowest.latency * seconds));
}

}  // namespace longattn
