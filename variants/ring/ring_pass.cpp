#include "variants/ring/ring_pass.h"

#include <algorithm>
#include <chrono>

namespace longattn {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kUnknownRate = 1e9;  // operations a second, below any processor's
constexpr double kBandwidth = 1e7;    // bytes a second, below any network's

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Of the busiest rank, and of the largest block that travels.
struct Step {
  double operations = 0, bytes = 0;
};

Step step_of(const RingPlan& plan, int step) {
  Step most;
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    most.operations = std::max(most.operations, plan.operations(rank, plan.origin(rank, step)));
    if (step == 0 && plan.settings().all_gather) {
      most.bytes = std::max(most.bytes, static_cast<double>(plan.bytes_sent(rank)));
    }
    if (!plan.sends(rank, step)) continue;
    most.bytes =
        std::max(most.bytes, static_cast<double>(plan.block_bytes(plan.origin(rank, step))));
  }
  return most;
}

}  // namespace

RankTimes ring_pass(RingRank& rank, const RingPlan& plan, Context& context,
                    const Patience& patience, std::atomic<int>* at_step) {
  return ring_pass(
      rank, plan, [&](int step) { rank.compute(step, context); }, patience, at_step);
}

RankTimes ring_pass(RingRank& rank, const RingPlan& plan,
                    const std::function<void(int step)>& compute, const Patience& patience,
                    std::atomic<int>* at_step) {
  RankTimes times;
  const Clock::time_point begin = Clock::now();
  double own = 0, work = 0, bytes = 0;
  for (int step = 0; step < plan.ranks(); ++step) {
    if (at_step != nullptr) *at_step = step;
    rank.post(step);
    const Step most = step_of(plan, step);
    bytes += most.bytes;
    const Clock::time_point started = Clock::now();
    compute(step);
    times.computing += seconds_since(started);
    own += plan.operations(rank.rank(), plan.origin(rank.rank(), step));
    work += most.operations;
    const double rate = own > 0 ? own / times.computing : kUnknownRate;
    const double allowed = patience.seconds + patience.slack * (work / rate + bytes / kBandwidth);
    const Clock::time_point waits = Clock::now();
    rank.complete(step,
                  std::min(patience.latest, begin + std::chrono::duration_cast<Clock::duration>(
                                                        std::chrono::duration<double>(allowed))));
    times.waiting += seconds_since(waits);
  }
  times.pass = seconds_since(begin);
  return times;
}

}  // namespace longattn
