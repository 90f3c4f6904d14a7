#include "variants/ring/shaped_network.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "core/random.h"
#include "core/workspace.h"
#include "tests/variants/variant_testing.h"
#include "variants/ring/ring_pass.h"
#include "variants/ring/thread_communicator.h"

namespace longattn {
namespace {

using Rank = std::function<void(Communicator&, ShapedNetwork&)>;

// Each in a thread of its own, joined by simulated links; when each ended, or why it failed.
struct End {
  double seconds = 0;
  std::string failure;
};
std::vector<End> simulate(const Cluster& cluster, int ranks, const Rank& run) {
  Workspace shared;
  ThreadTeam team(ranks, shared, 2 * ranks + 2);
  ShapedNetwork network(cluster, ranks, false, ShapedNetwork::Time::simulated);
  std::vector<End> ends(static_cast<size_t>(ranks));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ShapedCommunicator own(network, std::make_unique<ThreadCommunicator>(team, rank));
      End& end = ends[static_cast<size_t>(rank)];
      try {
        run(own, network);
        end.seconds = network.now();
      } catch (const CommunicatorError& e) {
        end.failure = e.what();
      }
    });
  }
  threads.clear();  // joins
  return ends;
}

// What the model says of a plan, and what RingRank does with messages and work that take as long.
void expect_as_forecast(const RingPlan& plan, const Problem& p, const Cluster& cluster) {
  const Tensor queries({p.batch, p.num_heads, p.query_len, p.head_dim}),
      keys({p.batch, p.num_kv_heads, p.key_len, p.head_dim}),
      values({p.batch, p.num_kv_heads, p.key_len, p.value_dim});
  const auto ends = simulate(cluster, plan.ranks(), [&](Communicator& own, ShapedNetwork& network) {
    Workspace workspace;
    RingRank rank(plan, p, own, workspace);
    rank.load({queries.view(), keys.view(), values.view(), {}});
    ring_pass(rank, plan, [&](int step) {
      network.sleep_until(rank.rank(),
                          network.now() + work_seconds(plan, cluster, rank.rank(), step));
    });
  });
  double total = 0;
  for (const End& end : ends) {
    EXPECT_EQ(end.failure, "");
    total = std::max(total, end.seconds);
  }
  const double predicted = forecast(plan, cluster).total;
  // Sums of two terms a step, of numbers of like size.
  EXPECT_NEAR(total, predicted, 1e-13 * plan.ranks() * predicted);
}

TEST(ShapedNetwork, LetsRanksTakeExactlyWhatTheModelPredicts) {
  const CounterRandom random(7, 0);
  for (std::uint64_t draw = 0; draw < 60; ++draw) {
    const auto between = [&](std::uint64_t which, double low, double high) {
      return low + (high - low) * random.uniform(8 * draw + which);
    };
    Problem p = square_problem(static_cast<Index>(between(0, 1, 150)), draw % 3 != 0);
    p.head_dim = p.value_dim = 2;
    const auto layout = static_cast<RingLayout>(draw % 3);
    RingSettings settings;
    if (draw % 5 == 0) settings.window = static_cast<Index>(between(1, 0, 40));
    const RingPlan plan(p, layout, static_cast<int>(between(2, 1, 7.99)), settings);
    Cluster cluster;
    cluster.rate = between(3, 1e3, 1e5);
    cluster.overhead = between(4, 0, 1e-2);
    cluster.network = {between(5, 0, 0.1), between(6, 1e3, 1e5)};
    cluster.inside = {between(7, 0, 0.01), 1e6};
    cluster.ranks_per_host = 1 + static_cast<int>(draw % 2);
    cluster.spread = draw % 4 == 1;
    cluster.jitter = draw % 7 == 0 ? 0.3 : 0;
    SCOPED_TRACE(draw);
    expect_as_forecast(plan, p, cluster);
  }
}

TEST(ShapedNetwork, TakesLatencyAndBytesOverBandwidth) {
  const Cluster cluster = {.network = {.latency = 0.5, .bandwidth = 100}};
  const auto ends = simulate(cluster, 2, [](Communicator& own, ShapedNetwork& network) {
    const std::vector<std::byte> sent(50);
    std::vector<std::byte> received(50);
    if (own.rank() == 0) {
      network.sleep_until(0, 3);  // a message moves when both sides are there
      Request sending = own.isend(sent, 1, 0);
      own.wait(sending, Communicator::Deadline::max());
    } else {
      Request receiving = own.irecv(received, 0, 0);
      own.wait(receiving, Communicator::Deadline::max());
    }
  });
  for (const End& end : ends) EXPECT_DOUBLE_EQ(end.seconds, 3 + 0.5 + 50.0 / 100);
}

TEST(ShapedNetwork, BringsMessagesToARankOneAfterTheOther) {
  const Cluster cluster = {.network = {.latency = 0.5, .bandwidth = 100}};
  const auto ends = simulate(cluster, 3, [](Communicator& own, ShapedNetwork&) {
    std::vector<std::byte> buffer(100);
    if (own.rank() > 0) {
      Request sending = own.isend(buffer, 0, 0);
      own.wait(sending, Communicator::Deadline::max());
      return;
    }
    std::vector<std::byte> other(100);
    Request first = own.irecv(buffer, 1, 0), second = own.irecv(other, 2, 0);
    own.wait(first, Communicator::Deadline::max());
    own.wait(second, Communicator::Deadline::max());
  });
  EXPECT_DOUBLE_EQ(ends[0].seconds, 0.5 + 1 + 1);
}

// In simulated time no deadline passes; that all wait for each other is seen at once.
TEST(ShapedNetwork, SaysWhenEveryRankWaitsForAnother) {
  const auto ends = simulate({.network = {0, 1}}, 2, [](Communicator& own, ShapedNetwork&) {
    std::vector<std::byte> buffer(8);
    Request receiving = own.irecv(buffer, 1 - own.rank(), 0);
    own.wait(receiving, Communicator::Deadline::max());
  });
  for (const End& end : ends) EXPECT_NE(end.failure, "");
}

// One that takes an hour.
TEST(ShapedNetwork, FailsAMessageThatComesAfterTheDeadline) {
  Workspace shared;
  ThreadTeam team(2, shared);
  const Cluster cluster = {.network = {.latency = 3600, .bandwidth = 1}};
  ShapedNetwork network(cluster, 2, false, ShapedNetwork::Time::real);
  ShapedCommunicator sender(network, std::make_unique<ThreadCommunicator>(team, 0));
  ShapedCommunicator receiver(network, std::make_unique<ThreadCommunicator>(team, 1));
  const std::vector<std::byte> sent(3);
  std::vector<std::byte> received(3);
  Request receiving = receiver.irecv(received, 0, 5);
  Request sending = sender.isend(sent, 1, 5);
  const auto failure_of = [](ShapedCommunicator& own, Request& request) -> std::string {
    try {
      own.wait(request, std::chrono::steady_clock::now());
    } catch (const CommunicatorError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(failure_of(receiver, receiving), overdue(1, {0, 1, 5}, 0, 3));
  EXPECT_THROW(static_cast<void>(sender.isend(sent, 1, 6)), CommunicatorError);
  EXPECT_EQ(failure_of(sender, sending), "");  // its buffer is not needed any more
}

}  // namespace
}  // namespace longattn
