#pragma once

#include <atomic>
#include <functional>

#include "core/parallel.h"
#include "variants/ring/ring_plan.h"
#include "variants/ring/ring_rank.h"

namespace longattn {

/// How long a rank waits for the others before it gives up the pass for all: until
///
///   begin + seconds + slack * sum over steps so far of (work / rate + bytes / bandwidth)
///
/// with the work of the step's busiest rank, the rate of this rank's own work so far (of which
/// there is some before the first wait, unless it holds nothing: then 1e9 operations a second), and
/// a bandwidth of 10 MB/s. Delays of others reach a rank through its neighbour, hence the sum.
struct Patience {
  double seconds = 30;
  double slack = 4;
  Communicator::Deadline latest = Communicator::Deadline::max();  ///< whatever the above says
};

/// What a rank spent one pass on.
struct RankTimes {
  double pass = 0;       ///< s, from the first exchange to the last block
  double computing = 0;  ///< s
  double waiting = 0;    ///< s, for blocks that were not there when their turn came
};

/// All steps of one rank, between load and store; collective: every rank of the plan does it.
/// Throws CommunicatorError, at the latest when patience is over. `at_step` tells other threads
/// which step it is.
RankTimes ring_pass(RingRank& rank, const RingPlan& plan, Context& context,
                    const Patience& patience = {}, std::atomic<int>* at_step = nullptr);

/// The same with something else in place of rank.compute(step, context): nothing, which tells what
/// there is to hide; or work that takes as long as elsewhere.
RankTimes ring_pass(RingRank& rank, const RingPlan& plan,
                    const std::function<void(int step)>& compute, const Patience& patience = {},
                    std::atomic<int>* at_step = nullptr);

}  // namespace longattn
