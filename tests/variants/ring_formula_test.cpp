// Ring attention: full attention written out, whatever the ranks and layout; and of the plan, who
// holds, computes and sends what, by the sentences of Liu et al. 2023 and Brandon et al. 2023.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <set>

#include "core/error.h"
#include "tests/variants/written_out.h"
#include "variants/ring/ring.h"
#include "variants/ring/ring_plan.h"
#include "variants/ring/ring_rank.h"
#include "variants/ring/thread_communicator.h"

namespace longattn {
namespace {

constexpr RingLayout kLayouts[] = {RingLayout::contiguous, RingLayout::zigzag, RingLayout::striped};

void expect_full(const Problem& p, Index ranks, const std::string& layout, Dice& dice) {
  expect_full_attention(kRing, p, {{"ranks", text_of(ranks)}, {"layout", layout}}, dice);
}

TEST(RingFormula, IsFullAttentionForEveryNumberOfRanksAndLayout) {
  Dice dice(1);
  for (const char* layout : {"contiguous", "zigzag", "striped", "auto"}) {
    for (const Index len : {1, 2, 3, 5, 7, 11, 13}) {
      for (Index ranks = 1; ranks <= len + 2; ++ranks) {
        Problem p = square_problem(len, dice.one_in(2));
        p.query_len = dice.between(1, len + 3);
        expect_full(p, ranks, layout, dice);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(RingFormula, IsFullAttentionOnDrawnProblems) {
  Dice dice(2);
  for (int n = 0; n < 350; ++n) {
    const Problem p = drawn_problem(dice, dice.one_in(12) ? 331 : 97);
    const Index ranks = dice.one_in(20)  ? 256
                        : dice.one_in(4) ? dice.between(1, p.key_len + 2)
                                         : dice.between(1, 9);
    expect_full(p, std::min<Index>(ranks, 256),
                dice.of({"contiguous", "zigzag", "striped", "auto"}), dice);
    if (HasFatalFailure()) return;
  }
}

// Which rank holds token t of N, by the papers, where P or 2 P divides: floor(t / c); t mod P; of 2
// P parts, r and 2 P - 1 - r.
Index holder(RingLayout layout, Index t, Index tokens, Index ranks) {
  if (layout == RingLayout::striped) return t % ranks;
  if (layout == RingLayout::contiguous) return t / (tokens / ranks);
  const Index part = t / (tokens / (2 * ranks));
  return std::min(part, 2 * ranks - 1 - part);
}

TEST(RingPlanFormula, ShardsAreThePapersWhereTheyDivide) {
  for (const RingLayout layout : kLayouts) {
    for (const Index ranks : {1, 2, 3, 5, 8}) {
      const Index tokens = 2 * ranks * 3;
      for (int r = 0; r < ranks; ++r) {
        const Shard shard = make_shard(layout, tokens, static_cast<int>(ranks), r);
        std::vector<Index> expected, found;
        for (Index t = 0; t < tokens; ++t) {
          if (holder(layout, t, tokens, ranks) == r) expected.push_back(t);
        }
        for (Index n = 0; n < shard.size(); ++n) found.push_back(shard[n]);
        EXPECT_EQ(found, expected) << to_string(layout) << " rank " << r << " of " << ranks;
      }
    }
  }
}

TEST(RingPlanFormula, ShardsPartTheTokensWithinAFewOfEachOther) {
  for (const RingLayout layout : kLayouts) {
    for (Index tokens = 0; tokens < 40; ++tokens) {
      for (int ranks = 1; ranks < 12; ++ranks) {
        std::set<Index> all;
        Index least = tokens, most = 0, count = 0;
        for (int r = 0; r < ranks; ++r) {
          const Shard shard = make_shard(layout, tokens, ranks, r);
          for (Index n = 0; n < shard.size(); ++n) {
            ASSERT_TRUE(n == 0 || shard[n - 1] < shard[n]) << "ascending";
            all.insert(shard[n]);
          }
          for (Index token = 0; token <= tokens; ++token) {
            Index below = 0;
            for (Index n = 0; n < shard.size(); ++n) below += shard[n] < token;
            ASSERT_EQ(shard.count_below(token), below);
          }
          count += shard.size();
          least = std::min(least, shard.size());
          most = std::max(most, shard.size());
        }
        ASSERT_EQ(count, tokens);
        ASSERT_EQ(static_cast<Index>(all.size()), tokens);
        // "Shards differ by a token or two": two parts of a zigzag shard by one each.
        ASSERT_LE(most - least, layout == RingLayout::zigzag ? 2 : 1) << tokens << " " << ranks;
      }
    }
  }
}

Index visible_pairs_of(const Problem& p, const Shard& queries, const Shard& keys) {
  Index pairs = 0;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index n = 0; n < queries.size(); ++n) {
      for (Index m = 0; m < keys.size(); ++m) pairs += mask_shows(p, b, queries[n], keys[m]);
    }
  }
  return pairs * p.num_heads;
}

// Pairs one by one; and who passes a block on: "unless no rank further on has a query that sees one
// of them".
TEST(RingPlanFormula, PairsAndHopsAreCountedOneByOne) {
  Dice dice(3);
  for (int n = 0; n < 150; ++n) {
    const Problem p = drawn_problem(dice, 31);
    const int ranks = static_cast<int>(dice.between(1, 7));
    const RingLayout layout =
        dice.of({RingLayout::contiguous, RingLayout::zigzag, RingLayout::striped});
    const RingPlan plan(p, layout, ranks);
    const Index element =
        p.num_kv_heads * (p.head_dim + p.value_dim) * p.batch * byte_size(p.dtype);
    double most_of_steps = 0, all = 0;
    std::vector<Index> sent(static_cast<size_t>(ranks), 0);
    for (int origin = 0; origin < ranks; ++origin) {
      ASSERT_EQ(plan.block_bytes(origin), plan.keys(origin).size() * element);
      int last = 0;  // hop at which someone still needs it
      for (int hop = 0; hop < ranks; ++hop) {
        const int rank = (origin + hop) % ranks;
        const auto pairs =
            static_cast<double>(visible_pairs_of(p, plan.queries(rank), plan.keys(origin)));
        ASSERT_EQ(plan.pairs(rank, origin), pairs);
        if (pairs > 0) last = hop;
        all += pairs;
      }
      for (int hop = 0; hop < ranks; ++hop) {
        const int rank = (origin + hop) % ranks;
        ASSERT_EQ(plan.origin(rank, hop), origin);
        ASSERT_EQ(plan.sends(rank, hop), hop < last && plan.block_bytes(origin) > 0)
            << "rank " << rank << " hop " << hop << " last " << last;
        ASSERT_EQ(plan.receives(plan.next(rank), hop), plan.sends(rank, hop));
        if (hop < last) sent[static_cast<size_t>(rank)] += plan.block_bytes(origin);
      }
    }
    for (int step = 0; step < ranks; ++step) {
      double most = 0;
      for (int r = 0; r < ranks; ++r) most = std::max(most, plan.pairs(r, plan.origin(r, step)));
      most_of_steps += most;
    }
    for (int r = 0; r < ranks; ++r) {
      ASSERT_EQ(plan.bytes_sent(r), sent[static_cast<size_t>(r)]);
      const Index own_queries = plan.queries(r).size() * p.num_heads * p.batch;
      ASSERT_GE(plan.memory_bytes(r),
                own_queries * (p.head_dim * byte_size(p.dtype) + (p.value_dim + 2) * 4) +
                    plan.block_bytes(r));
    }
    ASSERT_NEAR(plan.balance(), all > 0 ? all / ranks / most_of_steps : 1, 1e-14);
  }
}

Problem causal_problem(Index tokens) { return square_problem(tokens, true); }

double balance(Index tokens, RingLayout layout, Index ranks, bool causal = true) {
  Problem p = causal_problem(tokens);
  p.mask.causal = causal;
  return RingPlan(p, layout, static_cast<int>(ranks)).balance();
}

// Brandon et al. 2023: with blocks of c = N / P tokens the slowest rank of a step does c (c + 1) /
// 2 pairs at first and c^2 at each of the P - 1 others: in the limit P / (2 P - 1) of the ranks'
// time is work.
TEST(RingPlanFormula, ContiguousKeepsRanksBusyPOver2PLess1OfTheTime) {
  for (const double ranks : {1, 2, 4, 8}) {
    const double tokens = 16 * ranks, c = 16;
    const double work = tokens * (tokens + 1) / 2 / ranks,
                 chain = c * (c + 1) / 2 + (ranks - 1) * c * c;
    EXPECT_NEAR(
        balance(static_cast<Index>(tokens), RingLayout::contiguous, static_cast<Index>(ranks)),
        work / chain, 1e-14);
    EXPECT_NEAR(
        balance(static_cast<Index>(ranks) << 14, RingLayout::contiguous, static_cast<Index>(ranks)),
        ranks / (2 * ranks - 1), 1e-4);
  }
}

// Token t at rank t mod P: a block has c (c + 1) / 2 pairs if the queries' rank is not below the
// keys', else c (c - 1) / 2. At every step some rank has the former: (N + 1) / (N + P) of the time.
TEST(RingPlanFormula, StripedIsBalancedButForTheDiagonal) {
  for (const Index ranks : {1, 2, 4, 8}) {
    const Index c = 16, tokens = c * ranks;
    EXPECT_NEAR(balance(tokens, RingLayout::striped, ranks),
                static_cast<double>(tokens + 1) / static_cast<double>(tokens + ranks), 1e-14);
    const RingPlan plan(causal_problem(tokens), RingLayout::striped, static_cast<int>(ranks));
    for (int r = 0; r < ranks; ++r) {
      for (int origin = 0; origin < ranks; ++origin) {
        EXPECT_EQ(plan.pairs(r, origin), r >= origin ? c * (c + 1) / 2 : c * (c - 1) / 2);
      }
    }
  }
}

// Parts r and 2 P - 1 - r: c (c + 1) / 2 pairs at the first step and c^2 / 2 at every other, of
// every rank: all work all the time.
TEST(RingPlanFormula, ZigzagIsBalancedExactlyAtEveryStep) {
  for (const Index ranks : {1, 2, 4, 8}) {
    const Index c = 16, tokens = c * ranks;
    EXPECT_EQ(balance(tokens, RingLayout::zigzag, ranks), 1);
    const RingPlan plan(causal_problem(tokens), RingLayout::zigzag, static_cast<int>(ranks));
    for (int r = 0; r < ranks; ++r) {
      for (int origin = 0; origin < ranks; ++origin) {
        EXPECT_EQ(plan.pairs(r, origin), r == origin ? c * (c + 1) / 2 : c * c / 2);
      }
    }
  }
}

TEST(RingPlanFormula, WithoutAMaskEveryLayoutIsBalancedAndMakesPLess1Hops) {
  for (const RingLayout layout : kLayouts) {
    for (const int ranks : {1, 2, 3, 8}) {
      Problem p = square_problem(48);
      p.num_heads = 6;
      p.num_kv_heads = 2;
      p.dtype = DType::bfloat16;
      const RingPlan plan(p, layout, ranks);
      EXPECT_EQ(plan.balance(), 1);
      for (int r = 0; r < ranks; ++r) {
        int hops = 0;
        for (int step = 0; step < ranks; ++step) hops += plan.sends(r, step);
        EXPECT_EQ(hops, ranks - 1);
        // "A rank sends (P - 1) N/P num_kv_heads (head_dim + value_dim) elements"
        EXPECT_EQ(plan.bytes_sent(r), (ranks - 1) * 48 / ranks * 2 * (4 + 4) * 2);
      }
    }
  }
}

TEST(RingPlanFormula, AutomaticLayoutIsZigzagIfCausalAndContiguousIfNot) {
  for (const Index ranks : {1, 2, 3, 4, 8}) {
    for (const Index tokens : {48, 96, 192}) {
      const Problem p = square_problem(tokens, true);
      const RingLayout best = RingPlan::best_layout(p, static_cast<int>(ranks));
      EXPECT_EQ(best, ranks == 1 ? RingLayout::contiguous : RingLayout::zigzag);
      EXPECT_EQ(RingPlan::best_layout(square_problem(tokens), static_cast<int>(ranks)),
                RingLayout::contiguous);
      EXPECT_EQ(ring_plan(p, Options(kRing.options, {{"ranks", text_of(ranks)}})).balance(),
                balance(tokens, best, ranks));
    }
  }
}

// The ranks one by one, by the lines of ring_rank.h, over a communicator that copies: what travels
// is what the plan says, and what comes out is what the variant writes, to the bit.
TEST(RingPlanFormula, RanksSendWhatThePlanSaysAndWriteWhatTheVariantWrites) {
  Dice dice(4);
  for (int n = 0; n < 40; ++n) {
    const Problem p = drawn_problem(dice, 61);
    const int ranks = static_cast<int>(dice.between(1, 5));
    const OptionTexts options = {{"ranks", text_of(ranks)},
                                 {"layout", dice.of({"contiguous", "zigzag", "striped", "auto"})}};
    const auto attention = make_with(kRing, p, options);
    const DrawnTensors t(p);
    Tensor whole({p.batch, p.num_heads, p.query_len, p.value_dim}),
        sums({p.batch, p.num_heads, p.query_len, 1}), parts(whole.shape()), part_sums(sums.shape());
    Context context(1);
    attention->forward(t.inputs(), {whole.mutable_view(), sums.mutable_view()}, context);

    const RingPlan plan = ring_plan(p, Options(kRing.options, options));
    Workspace workspace;
    ThreadTeam team(ranks, workspace);
    std::deque<ThreadCommunicator> communicators;
    std::deque<RingRank> group;
    for (int r = 0; r < ranks; ++r) {
      communicators.emplace_back(team, r);
      group.emplace_back(plan, p, communicators.back(), workspace);
      group.back().load(t.inputs());
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    for (int step = 0; step < ranks; ++step) {
      for (RingRank& rank : group) rank.post(step);
      for (RingRank& rank : group) rank.compute(step, context);
      for (RingRank& rank : group) rank.complete(step, deadline);
    }
    for (RingRank& rank : group) rank.store({parts.mutable_view(), part_sums.mutable_view()});
    ASSERT_EQ(std::memcmp(whole.floats(), parts.floats(), static_cast<size_t>(whole.bytes())), 0);
    ASSERT_EQ(std::memcmp(sums.floats(), part_sums.floats(), static_cast<size_t>(sums.bytes())), 0);
    for (int r = 0; r < ranks; ++r) {
      ASSERT_EQ(communicators[static_cast<size_t>(r)].bytes_sent(), plan.bytes_sent(r));
    }
  }
}

}  // namespace
}  // namespace longattn
