#include "variants/ring/ring_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "core/workspace.h"
#include "tests/variants/variant_testing.h"

namespace longattn {
namespace {

constexpr double kRounding = 1e-12;  // of sums of a few thousand terms

// Blocks of `len / ranks` tokens, whose work takes `compute` seconds and whose transfer `transfer`.
Cluster cluster_of(const RingPlan& plan, double compute, double transfer) {
  Cluster cluster;
  cluster.rate = plan.operations(0, 0) / compute;
  cluster.network.bandwidth = static_cast<double>(plan.block_bytes(0)) / transfer;
  return cluster;
}

RingPlan balanced(int ranks, int depth = 2) {
  return {square_problem(16 * ranks, false), RingLayout::contiguous, ranks, {.depth = depth}};
}

// P - 1 steps of the longer of the two, and the last one, which exchanges nothing.
TEST(RingModel, EqualsTheClosedFormOfBalancedWork) {
  for (const int ranks : {1, 2, 5, 32}) {
    for (const double transfer : {0.25, 1.0, 3.0}) {
      for (const int depth : {1, 2, 3, 5}) {
        const RingPlan plan = balanced(ranks, depth);
        const RingForecast said = forecast(plan, cluster_of(plan, 1, transfer));
        const double step = depth == 1 ? 1 + transfer : std::max(1.0, transfer);
        EXPECT_NEAR(said.total, (ranks - 1) * step + 1, kRounding * said.total);
        EXPECT_NEAR(said.bound, said.total, kRounding * said.total);
        EXPECT_NEAR(said.computing, ranks, kRounding * ranks);
        EXPECT_NEAR(said.exchange, (ranks - 1) * transfer, kRounding * ranks * transfer);
      }
    }
  }
}

// Zigzag balances every step but for a token or two, whatever the step has to do.
TEST(RingModel, EqualsTheClosedFormOfZigzagCausalWork) {
  const RingPlan plan(square_problem(1024, true), RingLayout::zigzag, 8);
  for (const double transfer : {0.1, 0.5, 2.0}) {
    const RingForecast said = forecast(plan, cluster_of(plan, 1, transfer));
    EXPECT_NEAR(said.total, said.bound, kRounding * said.bound);
    if (transfer < 0.5) EXPECT_NEAR(said.efficiency(), 1, kRounding);
  }
}

// Work to transfer 1 : 0.5.
TEST(RingModel, NeedsTwoPlacesForBlocksToHideTheirTransfer) {
  const auto efficiency = [](int depth) {
    const RingPlan plan = balanced(64, depth);
    return forecast(plan, cluster_of(plan, 1, 0.5)).efficiency();
  };
  EXPECT_NEAR(efficiency(1), 64 / (64 + 63 * 0.5), kRounding);  // 0.67
  for (const int depth : {2, 3, 8}) EXPECT_NEAR(efficiency(depth), 1, kRounding);
}

// Of 32 ranks one takes 1.5 times as long: 32 steps of 1.5, in which the others work 32 each.
TEST(RingModel, WaitsForTheSlowestRankAtAnyDepth) {
  for (const int depth : {2, 3, 4, 8}) {
    const RingPlan plan = balanced(32, depth);
    Cluster cluster = cluster_of(plan, 1, 0.5);
    cluster.slowness.assign(32, 1.0);
    cluster.slowness[7] = 1.5;
    const RingForecast said = forecast(plan, cluster);
    EXPECT_NEAR(said.total, 48, kRounding * 48);
    EXPECT_NEAR(said.efficiency(), (31 * 32 + 48) / (32.0 * 48), kRounding);  // 0.677
  }
}

// Without a network contiguous causal work is what its longest chain is: of the P (P + 1) / 2 half
// and whole squares the last rank does P - 1/2, and waits for none of them.
TEST(RingModel, LosesHalfOfContiguousCausalWorkToImbalance) {
  for (const int ranks : {2, 4, 8}) {
    const RingPlan plan(square_problem(Index{1} << 20, true), RingLayout::contiguous, ranks);
    const RingForecast said = forecast(plan, cluster_of(plan, 1, 1e-9));
    const double size = ranks;
    EXPECT_NEAR(said.efficiency(), size / (2 * size - 1), 1e-4);
    EXPECT_NEAR(said.efficiency(), plan.balance(), 1e-6);
  }
}

TEST(RingModel, TellsHiddenFromBreakEvenAndExposed) {
  const RingPlan plan = balanced(16);
  const auto of = [&](double transfer) { return forecast(plan, cluster_of(plan, 1, transfer)); };
  EXPECT_NEAR(of(0.5).exposed(), 0, kRounding);
  EXPECT_NEAR(of(1).exposed(), 0, kRounding);
  EXPECT_NEAR(of(2).exposed(), 15 / 31.0, kRounding);  // 15 steps of 2 and one of 1; 16 without
  EXPECT_NEAR(of(0.5).overlap().value(), 1, kRounding);
  EXPECT_NEAR(of(2).overlap().value(), 15 / 16.0, kRounding);  // all but the last step's work
  const RingPlan alone = balanced(16, 1);
  EXPECT_NEAR(forecast(alone, cluster_of(alone, 1, 0.5)).overlap().value(), 0, kRounding);
  for (const double transfer : {0.5, 1.0, 2.0}) {
    const RingForecast said = of(transfer);
    for (size_t r = 0; r < 16; ++r) {
      EXPECT_NEAR(said.compute[r] + said.wait[r], said.total, kRounding * said.total);
    }
  }
}

TEST(RingModel, IsNeverMoreThanTheClosedFormAndFasterOnFasterNetworks) {
  for (const bool causal : {true, false}) {
    for (const RingLayout layout :
         {RingLayout::contiguous, RingLayout::zigzag, RingLayout::striped}) {
      for (const int depth : {1, 2, 3, 6}) {
        const RingPlan plan(square_problem(331, causal), layout, 7, {.depth = depth});
        Cluster cluster = cluster_of(plan, 1, 1);
        double before = 0;
        for (const double slower : {0.1, 0.3, 1.0, 3.0, 10.0}) {
          Cluster narrow = cluster;
          narrow.network.bandwidth /= slower;
          const RingForecast said = forecast(plan, narrow);
          EXPECT_GE(said.total, before);
          EXPECT_LE(said.total, said.bound * (1 + kRounding));
          EXPECT_GE(said.total, said.computing);
          EXPECT_GE(said.total, said.exchange);
          before = said.total;
        }
        before = 0;
        for (const double latency : {0.0, 0.1, 1.0, 10.0}) {
          cluster.network.latency = latency;
          const double total = forecast(plan, cluster).total;
          EXPECT_GE(total, before);
          before = total;
        }
      }
    }
  }
}

TEST(RingModel, BringsNothingFasterByFewerPlaces) {
  Cluster cluster = cluster_of(balanced(32), 1, 0.9);
  cluster.jitter = 0.2;
  double before = 0;
  for (const int depth : {8, 4, 3, 2, 1}) {
    const double total = forecast(balanced(32, depth), cluster).total;
    EXPECT_GE(total, before) << depth;
    before = total;
  }
}

TEST(RingModel, DrawsJitterBySeedWithMeanOne) {
  const RingPlan plan = balanced(64);
  Cluster cluster = cluster_of(plan, 1, 0.1);
  cluster.jitter = 0.3;
  const RingForecast once = forecast(plan, cluster), again = forecast(plan, cluster);
  EXPECT_EQ(once.total, again.total);
  cluster.seed = 2;
  EXPECT_NE(forecast(plan, cluster).total, once.total);
  const double mean =
      std::accumulate(once.compute.begin(), once.compute.end(), 0.0) / (64.0 * 64.0);
  // Of a lognormal factor of mean 1 the deviation is sqrt(exp(0.09) - 1); here of 4,096 draws.
  EXPECT_NEAR(mean, 1, 5 * std::sqrt(std::expm1(0.09)) / 64);
  EXPECT_GT(once.total, once.bound / 2);
  cluster.jitter = 0;
  EXPECT_LT(forecast(plan, cluster).total, once.total);
  cluster.stall_probability = 1;
  cluster.stall_factor = 3;
  EXPECT_NEAR(forecast(plan, cluster).total, 3 * 64, kRounding * 200);
}

// Half a second lost of each second of a transfer that there is work beside.
TEST(RingModel, SlowsComputationDownWhileBlocksMove) {
  const RingPlan plan = balanced(4);
  Cluster cluster = cluster_of(plan, 1, 0.5);
  cluster.contention = 0.5;
  EXPECT_NEAR(forecast(plan, cluster).total, 3 * 1.25 + 1, kRounding);
}

TEST(RingModel, SharesTheBandwidthOfAHostAmongItsRanks) {
  const RingPlan plan = balanced(8);
  Cluster cluster = cluster_of(plan, 1, 3);
  cluster.ranks_per_host = 4;
  cluster.inside.bandwidth = cluster.network.bandwidth * 1000;
  const double packed = forecast(plan, cluster).total;
  cluster.spread = true;
  const double spread = forecast(plan, cluster).total;
  EXPECT_NEAR(spread, 7 * 4 * 3 + 1, kRounding * 100);  // four ranks of a host send at once
  EXPECT_LE(packed, 7 * 3 + 1 + kRounding * 100);
  EXPECT_GT(packed, 8);
  cluster.ranks_per_host = 8;  // one host: nothing crosses the network
  EXPECT_NEAR(forecast(plan, cluster).total, 8, kRounding * 10);
}

// Where latency is all, P - 1 of them or one; where work is, neither.
TEST(RingModel, GathersAtOneLatencyAndHidesBehindTheOwnBlock) {
  const Problem p = square_problem(160, false);
  const RingPlan ring(p, RingLayout::contiguous, 10),
      gathered(p, RingLayout::contiguous, 10, {.all_gather = true});
  Cluster cluster = cluster_of(ring, 1, 1e-6);
  cluster.network.latency = 100;
  EXPECT_NEAR(forecast(ring, cluster).total, 9 * (100 + 1e-6) + 1, 1e-9);
  EXPECT_NEAR(forecast(gathered, cluster).total, 100 + 1e-6 + 9, 1e-9);
  cluster.network.latency = 0.5;
  EXPECT_NEAR(forecast(gathered, cluster).total, 10, 1e-9);
}

// At the knee a step's work takes as long as its transfer, and beside it it does not.
TEST(RingModel, KnowsWhereTheExchangeIsNoLongerHidden) {
  const Problem p = square_problem(Index{1} << 16, false);
  const auto plan = [&](int ranks) { return RingPlan(p, RingLayout::contiguous, ranks); };
  for (const double latency : {0.0, 1e-4}) {
    Cluster cluster;
    cluster.rate = 1e9;
    cluster.network = {latency, 1e8};
    const double at = knee(plan(2), cluster).value();
    EXPECT_NEAR(knee(plan(16), cluster).value(), at, 1e-9 * at);
    const double tokens = 65536;
    const double work = 2.0 * 8 * tokens * tokens / 1e9, moving = 8 * tokens * 4 / 1e8;
    EXPECT_NEAR(work / (at * at), latency + moving / at, 1e-9 * work / (at * at));
    const int below = 1 << static_cast<int>(std::log2(at)), above = 2 * below;
    EXPECT_LT(forecast(plan(below), cluster).exposed(), 1e-9);
    EXPECT_GT(forecast(plan(above), cluster).exposed(), 1e-3);
  }
  Cluster cluster;
  cluster.rate = 1e9;
  cluster.network = {0, 1e8};
  EXPECT_FALSE(knee(RingPlan(p, RingLayout::contiguous, 4, {.window = 10}), cluster).has_value());
}

// The plan of so many ranks takes no square of memory, and no time to speak of.
TEST(RingModel, TakesThousandsOfRanks) {
  Problem p = square_problem(Index{100} << 20, true);
  const RingPlan plan(p, RingLayout::zigzag, 4096);
  Cluster cluster;
  cluster.rate = 1e12;
  cluster.network = {2e-5, 1e9};
  const RingForecast said = forecast(plan, cluster);
  const double pairs = 0.5 * (static_cast<double>(p.key_len) + 1) * static_cast<double>(p.key_len);
  EXPECT_NEAR(said.computing, pairs * 2 * 8 / 1e12 / 4096, 1e-6 * said.computing);
  EXPECT_GE(said.total, said.computing);
}

}  // namespace
}  // namespace longattn
