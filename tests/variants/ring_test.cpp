#include "variants/ring/ring.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

#include "tests/variants/variant_testing.h"
#include "variants/full.h"
#include "variants/ring/ring_rank.h"
#include "variants/ring/thread_communicator.h"

namespace longattn {
namespace {

Options ring_options(int ranks, std::string_view layout = "auto") {
  return Options(kRing.options,
                 {{"ranks", std::to_string(ranks)}, {"layout", std::string(layout)}});
}

// What the tensors hold against the definition of full attention.
double from_full(const Attention& ring, const ProblemTensors& t) {
  return output_ratio(ring, *make_attention(kFull, ring.problem(), {}), t);
}

TEST(Ring, OfEqualScoresIsTheRunningMean) {
  const Problem p = square_problem(5, true);
  ProblemTensors t(p);
  std::fill_n(t.queries.floats(), t.queries.size(), 0.0f);
  for (Index j = 0; j < 5; ++j)
    std::fill_n(t.values.floats() + j * 4, 4, static_cast<float>(j + 1));
  Context context(1);
  for (const char* layout : {"contiguous", "zigzag", "striped"}) {
    make_attention(kRing, p, ring_options(3, layout))->forward(t.inputs(), t.outputs(), context);
    for (Index i = 0; i < 5; ++i) {
      EXPECT_NEAR(t.output.view().float_row(0, 0, i)[3], 1 + 0.5f * static_cast<float>(i), 1e-6);
      EXPECT_NEAR(*t.logsumexp.view().float_row(0, 0, i), std::log(static_cast<float>(i + 1)),
                  1e-6);
    }
  }
}

// "Without approximations": for one rank, as many as tokens, more than tokens; lengths that divide
// nothing; every layout and mask.
TEST(Ring, EqualsFullAttentionForAnyNumberOfRanksAndAnyLength) {
  std::vector<Problem> problems;
  for (Index len : {1, 2, 97}) problems.push_back(square_problem(len, false));
  Problem p = square_problem(90, false);
  p.query_len = 41;
  problems.push_back(p);
  p.query_len = 103;
  problems.push_back(p);
  p = square_problem(75, false);
  p.batch = 2;
  p.num_heads = 6;
  p.num_kv_heads = 3;
  p.head_dim = 9;
  p.value_dim = 5;
  p.query_len = 60;
  p.mask.key_lengths = {75, 33};
  p.mask.alibi_slopes = {0, 0.1, 0.2, 0.3, 0.4, 1};
  for (Index n = 0; n < 150; ++n) p.mask.document_ids.push_back(n / 13 % 4);
  problems.push_back(p);
  for (Problem& problem : problems) {
    for (bool causal : {false, true}) {
      problem.mask.causal = causal;
      ProblemTensors t(problem, 1, 3);
      Context context(2);
      for (int ranks : {1, 2, 3, 8, 97, 200}) {
        for (const char* layout : {"contiguous", "zigzag", "striped", "auto"}) {
          const auto ring = make_attention(kRing, problem, ring_options(ranks, layout));
          std::fill_n(t.output.floats(), t.output.size(), std::numeric_limits<float>::quiet_NaN());
          ring->forward(t.inputs(), t.outputs(), context);
          ASSERT_LE(from_full(*ring, t), 1) << problem.key_len << " " << ranks << " " << layout;
        }
      }
    }
  }
}

// Runs the ranks of a plan as threads, each with a Context, an arena and a communicator of its own.
struct Measured {
  Index memory = 0, sent = 0;
};
std::vector<Measured> run_on_threads(const RingPlan& plan, const Problem& p, const Inputs& inputs,
                                     const Outputs& outputs) {
  Workspace shared;
  ThreadTeam team(plan.ranks(), shared);
  std::vector<Measured> measured(static_cast<size_t>(plan.ranks()));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    threads.emplace_back([&, rank] {
      Context context(1);
      ThreadCommunicator communicator(team, rank);
      RingRank own(plan, p, communicator, context.workspace());
      Measured& figures = measured[static_cast<size_t>(rank)];
      figures.memory = context.workspace().bytes();
      own.load(inputs);
      for (int step = 0; step < plan.ranks(); ++step) {
        own.post(step);
        own.compute(step, context);
        own.complete(step, std::chrono::steady_clock::now() + std::chrono::seconds(60));
      }
      own.store(outputs);
      figures.sent = communicator.bytes_sent();
    });
  }
  threads.clear();  // joins
  return measured;
}

TEST(Ring, OfRanksThatAreThreadsGivesTheSameBitsAndKeepsToThePlan) {
  Problem p = square_problem(203, true);
  p.batch = 2;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.value_dim = 6;
  p.mask.key_lengths = {203, 150};
  ProblemTensors t(p);
  for (bool causal : {true, false}) {
    p.mask.causal = causal;
    for (int ranks : {1, 2, 5}) {
      for (const char* layout : {"contiguous", "zigzag", "striped"}) {
        const Options options = ring_options(ranks, layout);
        Context context(2);
        make_attention(kRing, p, options)->forward(t.inputs(), t.outputs(), context);
        const std::vector<float> expected(t.output.floats(), t.output.floats() + t.output.size());
        const RingPlan plan = ring_plan(p, options);
        const auto told = make_attention(kRing, p, options)->figures();
        ASSERT_EQ(told.size(), 4u);
        ASSERT_EQ(told[0].name, "rank_memory_bytes");
        ASSERT_EQ(told[1].name, "rank_sent_bytes");
        EXPECT_EQ(told[2], (PlanFigure{"balance", {plan.balance()}}));
        const auto measured = run_on_threads(plan, p, t.inputs(), t.outputs());
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), t.output.floats()));
        for (int rank = 0; rank < ranks; ++rank) {
          const auto& [memory, sent] = measured[static_cast<size_t>(rank)];
          EXPECT_EQ(memory, plan.memory_bytes(rank));
          EXPECT_EQ(sent, plan.bytes_sent(rank));
          EXPECT_EQ(told[0].values.at(static_cast<size_t>(rank)), static_cast<double>(memory));
          EXPECT_EQ(told[1].values.at(static_cast<size_t>(rank)), static_cast<double>(sent));
        }
      }
    }
  }
}

TEST(Ring, TakesShardsOfAnySize) {
  const Problem p = square_problem(60, true);
  ProblemTensors t(p);
  std::vector<Shard> shards(4);
  shards[0].append({0, 3});
  shards[0].append({50, 10});
  shards[2].append({3, 24, 2, nullptr});
  shards[3].append({4, 23, 2, nullptr});
  const RingPlan plan(p, shards, shards);  // rank 1 has nothing
  run_on_threads(plan, p, t.inputs(), t.outputs());
  EXPECT_LE(from_full(*make_attention(kRing, p, ring_options(4)), t), 1);
}

TEST(Ring, ReachesTheWorkspaceThatItDeclares) {
  Problem p = square_problem(300, true);
  ProblemTensors t(p);
  for (int ranks : {1, 3, 16}) {
    const auto ring = make_attention(kRing, p, ring_options(ranks));
    Context context(2);
    ring->forward(t.inputs(), t.outputs(), context);
    EXPECT_EQ(static_cast<double>(context.workspace().peak_bytes()), ring->cost(2).workspace_bytes);
  }
}

// The pitfall of rounding partial outputs: scores of some shards beyond exp's range, rows that see
// nothing at all in most of them.
TEST(Ring, CarriesItsStateOverBlocksThatShowNothingOrDwarfAllOthers) {
  const Problem p = square_problem(64, true);
  ProblemTensors t(p, 1, 60);
  Context context(1);
  const auto ring = make_attention(kRing, p, ring_options(16, "striped"));
  ring->forward(t.inputs(), t.outputs(), context);
  EXPECT_LE(from_full(*ring, t), 1);
}

}  // namespace
}  // namespace longattn
