#include "experiments/measure/rank_calibration.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "experiments/inputs/generators.h"
#include "experiments/judge/statistics.h"
#include "experiments/measure/spent.h"
#include "variants/ring/ring_rank.h"

namespace longattn {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Index kMostTokens = 4096;
constexpr double kMostOperations = 1e10;
constexpr Index kShortMessage = 64, kLongMessage = Index{8} << 20,
                kLongestMessage = Index{64} << 20;
constexpr int kRepetitions = 7, kPairs = 21, kShortExchanges = 100;
constexpr double kMostContention = 10;  // that a config takes
constexpr double kShareOfStep = 0.8;    // of an exchange beside a step, which should hide it

// As many tokens of each of two ranks.
Problem problem_of(const Problem& like, Index tokens) {
  Problem p;
  p.num_heads = like.num_heads;
  p.num_kv_heads = like.num_kv_heads;
  p.head_dim = like.head_dim;
  p.value_dim = like.value_dim;
  p.dtype = like.dtype;
  p.query_len = p.key_len = 2 * tokens;
  return p;
}

double operations_of(const Problem& like, Index tokens) {
  const RingPlan plan(problem_of(like, tokens), RingLayout::contiguous, 2);
  return plan.operations(0, 0);
}

class Calibrating {
 public:
  Calibrating(Communicator& communicator, const Problem& like, Context& context,
              Communicator::Deadline deadline)
      : communicator_(communicator), like_(like), context_(context), deadline_(deadline) {}

  Cluster run() {
    const double share = kMostOperations / operations_of(like_, kMostTokens);
    const auto most =
        static_cast<Index>(static_cast<double>(kMostTokens) * std::sqrt(std::min(1.0, share)));
    const Index few = std::max<Index>(most / 16, 1), some = std::max<Index>(most / 4, 1),
                many = std::max(most, few + 1);
    Cluster found;
    const double least = step(few), longest = step(many);
    const double more = operations_of(like_, many) - operations_of(like_, few);
    found.rate = more / std::max(longest - least, 1e-9);
    found.overhead = std::max(0.0, least - operations_of(like_, few) / found.rate);
    found.network.latency = exchange(kShortMessage, kShortExchanges);
    const double longer = exchange(kLongMessage, 1);
    found.network.bandwidth = static_cast<double>(kLongMessage - kShortMessage) /
                              std::max(longer - found.network.latency, 1e-9);
    found.contention = contention(some, found.network);
    return found;
  }

 private:
  // Of the slower rank.
  template <class Action>
  double once(const Action& action) {
    allgather(communicator_, std::span<const double>(), deadline_);  // both begin together
    const Clock::time_point begin = Clock::now();
    action();
    const double own = seconds_since(begin);
    return std::ranges::max(allgather(communicator_, std::span(&own, 1), deadline_));
  }

  template <class Action>
  double seconds_of(const Action& action) {
    action();  // warms caches, takes scratch, connects
    std::vector<double> all;
    for (int n = 0; n < kRepetitions; ++n) all.push_back(once(action));
    return median(all);
  }

  double exchange(Index bytes, int times) {
    const std::vector<std::byte> own(static_cast<size_t>(bytes));
    std::vector<std::byte> other(own.size());
    return seconds_of([&] {
             for (int n = 0; n < times; ++n) exchange_once(own, other, [] {});
           }) /
           times;
  }

  template <class Action>
  void exchange_once(std::span<const std::byte> own, std::span<std::byte> other,
                     const Action& meanwhile) {
    const int neighbour = 1 - communicator_.rank();
    Request receiving = communicator_.irecv(other, neighbour, 0);
    Request sending = communicator_.isend(own, neighbour, 0);
    meanwhile();
    communicator_.wait(receiving, deadline_);
    communicator_.wait(sending, deadline_);
  }

  // Gives `measure` what computes a rank's first step.
  template <class Measure>
  double with_step(Index tokens, const Measure& measure) {
    const Problem p = problem_of(like_, tokens);
    const RingPlan plan(p, RingLayout::contiguous, 2);
    Problem shard = p;
    shard.query_len = shard.key_len = tokens;
    const InputTensors inputs = make_inputs(generated_input("gaussian"), shard, context_.threads());
    const Workspace::Scope scope(context_.workspace());
    RingRank rank(plan, p, communicator_, context_.workspace());
    rank.load_own({inputs.queries.view(), inputs.keys.view(), inputs.values.view(), {}});
    return measure([&] { rank.compute(0, context_); });
  }

  double step(Index tokens) {
    return with_step(tokens, [&](const auto& compute) { return seconds_of(compute); });
  }

  // In pairs, one behind the other, because both take longer at times.
  double contention(Index tokens, const Link& link) {
    return with_step(tokens, [&](const auto& compute) {
      const double room = kShareOfStep * seconds_of(compute) * link.bandwidth;
      const auto bytes = std::min(kLongestMessage, static_cast<Index>(room));
      const std::vector<std::byte> own(static_cast<size_t>(bytes));
      std::vector<std::byte> other(own.size());
      std::vector<double> lost;
      for (int n = 0; n < kPairs; ++n) {
        const double alone = once(compute);
        lost.push_back(once([&] { exchange_once(own, other, compute); }) - alone);
      }
      return std::clamp(median(lost) / link.seconds(static_cast<double>(bytes)), 0.0,
                        kMostContention);
    });
  }

  Communicator& communicator_;
  const Problem& like_;
  Context& context_;
  const Communicator::Deadline deadline_;
};

}  // namespace

Cluster calibrate_ranks(Communicator& communicator, const Problem& like, Context& context,
                        Communicator::Deadline deadline) {
  return Calibrating(communicator, like, context, deadline).run();
}

}  // namespace longattn
