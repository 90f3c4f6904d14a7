#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "variants/ring/ring_plan.h"

namespace longattn {

/// A way between two ranks: a message of n bytes takes latency + n / bandwidth seconds (the postal
/// model; LogGP's L + 2 o and G, Alexandrov et al. 1995, without its gap between short messages).
struct Link {
  double latency = 0;    ///< s
  double bandwidth = 0;  ///< bytes/s
  double seconds(double bytes) const { return latency + bytes / bandwidth; }
};

/// Hosts, and the ranks on them, as a ring meets them.
struct Cluster {
  double rate = 0;      ///< operations/s of one rank, a multiplication and an addition being two
  double overhead = 0;  ///< s, of each step in which a rank has work
  Link network{};  ///< between hosts; its bandwidth is a host's, shared by the ranks that use it
  Link inside{};   ///< between two ranks of a host
  int ranks_per_host = 1;
  /// Ranks are dealt to hosts one by one, so that every hop leaves its host; else the first
  /// ranks_per_host are on the first host, and one of them sends to the next.
  bool spread = false;
  /// Computation slows down while blocks move: seconds lost of each second of a transfer that
  /// there is work beside. Communication takes cores and memory bandwidth.
  double contention = 0;
  std::vector<double> slowness{};  ///< of each rank, a factor on its computation; empty: 1
  // What a step of a rank takes is multiplied by exp(jitter z - jitter^2 / 2), z standard normal,
  // whose mean is 1, and now and then by stall_factor as well.
  double jitter = 0, stall_probability = 0, stall_factor = 1;
  std::uint64_t seed = 1;
};

/// What the model says of one pass. Seconds.
struct RingForecast {
  double total = 0;  ///< until the last rank is done
  double computing = 0,
         exchange = 0;  ///< the same if messages cost nothing; if nothing is computed
  /// Step by step: sum over t of max(most work of any rank, longest transfer); never less than
  /// `total`, and equal to it where all ranks have the same work and there is no jitter. Of a
  /// gathering plan, and of one place for blocks, work and transfers one after the other.
  double bound = 0;
  std::vector<double> compute, wait;  ///< of each rank; together `total`

  /// Mean computation of a rank over the total.
  double efficiency() const;
  /// Share of the total that a network without cost would save.
  double exposed() const;
  /// 1 - (T - max(C, X)) / min(C, X), C and X computing and exchange alone: as it is measured of
  /// ranks that are processes, where work is balanced. Empty: nothing to hide.
  std::optional<double> overlap() const;
};

/// Runs the plan on the cluster, event by event. With c(r,t) the work of rank r at step t, x(r,t)
/// the transfer of its block to the next rank n, and `depth` places for blocks:
///
///   start(r,t) = max(arrived(r,t), computed(r,t-1), sent(r,t-1))        computed(r,t) = start + c
///   begin(r,t) = max(start(r,t), free(n, t+1-depth))     sent(r,t) = arrived(n,t+1) = begin + x
///   free(r,t)  = max(computed(r,t), sent(r,t))
///
/// which for depth 2 is what RingRank does: receives are posted first, a send moves when its
/// receive waits. With more places a block is passed on as soon as it is there, arrived(r,t) in
/// place of start(r,t), and computing does not wait for sends; with one place transfers begin when
/// both ranks have computed. Gathered blocks arrive one after the other.
///
/// Needs rate > 0, and bandwidths > 0 of links that are used. Deterministic: equal arguments, equal
/// bits. Time O(P^2): 1 s or so for 4,096 ranks; memory O(depth P).
///
/// Sources: Liu, Zaharia & Abbeel 2023, Ring Attention (2310.01889), section 3, whose condition
/// for hiding is c >= x; Culler et al. 1993 and Alexandrov et al. 1995 for LogP and LogGP; Hoefler
/// et al. 2010, LogGOPSim, for simulating a schedule instead of summing it up.
RingForecast forecast(const RingPlan& plan, const Cluster& cluster);

/// What a rank has to do at a step, s: (overhead + operations / rate), times its slowness and what
/// chance makes of it; 0 where it has no work.
double work_seconds(const RingPlan& plan, const Cluster& cluster, int rank, int step);

/// The way of a message among so many ranks while all others send too: to the next one of a ring,
/// or, gathered, to all.
Link link_between(const Cluster& cluster, int ranks, int from, int to, bool gathered);

/// The number of ranks beyond which the exchange is no longer hidden, were the work shared evenly:
/// work falls with 1/P^2 a step, what travels with 1/P only. The positive root of
///
///   latency P^2 + bytes / bandwidth P = operations / rate,
///
/// bytes those of all blocks, operations those of all pairs, the link the slowest that a hop takes.
/// Infinite where nothing travels; empty of a window, whose work is not spread over all steps.
std::optional<double> knee(const RingPlan& plan, const Cluster& cluster);

}  // namespace longattn
