#include "variants/ring/ring_plan.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/error.h"
#include "core/visibility.h"
#include "tests/variants/variant_testing.h"
#include "variants/ring/ring.h"

namespace longattn {
namespace {

constexpr RingLayout kLayouts[] = {RingLayout::contiguous, RingLayout::zigzag, RingLayout::striped};

std::vector<Index> tokens(const Shard& shard) {
  std::vector<Index> all;
  for (Index n = 0; n < shard.size(); ++n) all.push_back(shard[n]);
  return all;
}

TEST(RingPlan, LaysTokensOutAsDrawnByHand) {
  using Tokens = std::vector<Index>;
  const auto shard = [](RingLayout layout, int rank) {
    return tokens(make_shard(layout, 9, 2, rank));
  };
  EXPECT_EQ(shard(RingLayout::contiguous, 0), (Tokens{0, 1, 2, 3}));
  EXPECT_EQ(shard(RingLayout::contiguous, 1), (Tokens{4, 5, 6, 7, 8}));
  EXPECT_EQ(shard(RingLayout::zigzag, 0), (Tokens{0, 1, 6, 7, 8}));
  EXPECT_EQ(shard(RingLayout::zigzag, 1), (Tokens{2, 3, 4, 5}));
  EXPECT_EQ(shard(RingLayout::striped, 0), (Tokens{0, 2, 4, 6, 8}));
  EXPECT_EQ(shard(RingLayout::striped, 1), (Tokens{1, 3, 5, 7}));
}

TEST(RingPlan, GivesEveryTokenToOneRankWhateverTheLength) {
  for (RingLayout layout : kLayouts) {
    for (Index len : {0, 1, 2, 7, 16, 97}) {
      for (int ranks : {1, 2, 3, 8, 100}) {
        std::vector<int> holders(static_cast<size_t>(len), 0);
        Index least = len, most = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          const Shard shard = make_shard(layout, len, ranks, rank);
          const std::vector<Index> own = tokens(shard);
          least = std::min(least, shard.size());
          most = std::max(most, shard.size());
          for (size_t n = 0; n < own.size(); ++n) {
            ++holders[static_cast<size_t>(own[n])];
            if (n > 0) EXPECT_LT(own[n - 1], own[n]);
            EXPECT_EQ(shard.count_below(own[n]), static_cast<Index>(n));
          }
        }
        for (int count : holders) EXPECT_EQ(count, 1);
        EXPECT_LE(most - least, layout == RingLayout::zigzag ? 2 : 1);
      }
    }
  }
}

// Pairs are counted in closed form; here one by one.
TEST(RingPlan, CountsThePairsThatTheMaskShows) {
  Problem p = square_problem(23, true);
  Problem decode = p;
  decode.query_len = 5;
  Problem early = p;
  early.query_len = 31;
  Problem padded = p;
  padded.batch = 3;
  padded.num_heads = 2;
  padded.mask.key_lengths = {23, 0, 9};
  Problem documents = padded;
  for (Index n = 0; n < 69; ++n) documents.mask.document_ids.push_back(n / 4 % 5);
  for (Problem problem : {p, decode, early, padded, documents}) {
    for (bool causal : {true, false}) {
      problem.mask.causal = causal;
      for (RingLayout layout : kLayouts) {
        for (int ranks : {1, 2, 5, 30}) {
          const RingPlan plan(problem, layout, ranks);
          double sum = 0;
          for (int rank = 0; rank < ranks; ++rank) {
            for (int origin = 0; origin < ranks; ++origin) {
              Index count = 0;
              for (Index b = 0; b < problem.batch; ++b) {
                for (Index query : tokens(plan.queries(rank))) {
                  for (Index key : tokens(plan.keys(origin))) {
                    if (problem.visible(b, query, key)) ++count;
                  }
                }
              }
              ASSERT_EQ(plan.pairs(rank, origin), static_cast<double>(count * problem.num_heads));
              sum += plan.pairs(rank, origin);
            }
          }
          EXPECT_EQ(sum, visible_pairs(problem));
        }
      }
    }
  }
}

// Contiguous: the longest chain is one triangle and P - 1 squares, so P / (2 P - 1) in the limit;
// with c = N / P tokens a rank exactly (P c + 1) / (c + 1 + 2 (P - 1) c). Zigzag: every rank does
// the same at every step. Striped: between, for lack of c triangles' diagonals.
TEST(RingPlan, BalancesCausalWorkAsTheLayoutsPromise) {
  const auto balance = [](Index len, RingLayout layout, int ranks) {
    return RingPlan(square_problem(len, true), layout, ranks).balance();
  };
  for (int ranks : {1, 2, 3, 4, 8, 16}) {
    const Index c = 64;
    const auto size = static_cast<double>(ranks), share = static_cast<double>(c);
    const double contiguous = balance(c * ranks, RingLayout::contiguous, ranks);
    const double striped = balance(c * ranks, RingLayout::striped, ranks);
    EXPECT_NEAR(contiguous, (size * share + 1) / (share + 1 + 2 * (size - 1) * share), 1e-14);
    EXPECT_DOUBLE_EQ(balance(c * ranks, RingLayout::zigzag, ranks), 1);
    if (ranks > 1) EXPECT_LT(contiguous, striped);
    if (ranks > 1) EXPECT_LT(striped, 1);
    EXPECT_NEAR(balance(Index{1} << 24, RingLayout::contiguous, ranks), size / (2 * size - 1),
                1e-5);
    EXPECT_NEAR(balance(Index{1} << 24, RingLayout::striped, ranks), 1, 1e-4);
  }
  EXPECT_NEAR(balance(128, RingLayout::contiguous, 4), 0.573, 5e-4);
  EXPECT_NEAR(balance(128, RingLayout::striped, 4), 0.977, 5e-4);
  EXPECT_NEAR(balance(128, RingLayout::contiguous, 8), 0.535, 5e-4);
  EXPECT_NEAR(balance(128, RingLayout::striped, 8), 0.949, 5e-4);
  EXPECT_NEAR(balance(256, RingLayout::contiguous, 16), 0.517, 5e-4);
  EXPECT_NEAR(balance(256, RingLayout::striped, 16), 0.945, 5e-4);
  // Without a causal mask all are balanced.
  for (RingLayout layout : kLayouts) {
    EXPECT_DOUBLE_EQ(RingPlan(square_problem(64, false), layout, 4).balance(), 1);
  }
}

TEST(RingPlan, ChoosesTheLayoutByTheMask) {
  EXPECT_EQ(RingPlan::best_layout(square_problem(1024, true), 4), RingLayout::zigzag);
  EXPECT_EQ(RingPlan::best_layout(square_problem(1024, false), 4), RingLayout::contiguous);
  EXPECT_EQ(RingPlan::best_layout(square_problem(1024, true), 1), RingLayout::contiguous);
}

// A rank that nobody waits for is not written to: P - 1 hops of s (d + d_v) elements without a
// mask, half of them for contiguous causal shards.
TEST(RingPlan, SendsABlockNoFurtherThanItIsNeeded) {
  Problem p = square_problem(64, false);
  p.batch = 2;
  p.num_heads = 6;
  p.num_kv_heads = 3;
  p.value_dim = 7;
  p.dtype = DType::bfloat16;
  const int ranks = 4;
  const Index block = 2 * 3 * 16 * (4 + 7) * 2;
  for (RingLayout layout : kLayouts) {
    const RingPlan plan(p, layout, ranks);
    for (int rank = 0; rank < ranks; ++rank) {
      EXPECT_EQ(plan.block_bytes(rank), block);
      EXPECT_EQ(plan.bytes_sent(rank), 3 * block);
      EXPECT_FALSE(plan.sends(rank, ranks - 1));
    }
  }
  p.mask.causal = true;
  const RingPlan causal(p, RingLayout::contiguous, ranks);
  // Block 0 is needed by ranks 1, 2, 3, block 1 by 2 and 3, block 2 by 3, block 3 by none.
  EXPECT_EQ(causal.bytes_sent(0), block);
  EXPECT_EQ(causal.bytes_sent(1), 2 * block);
  EXPECT_EQ(causal.bytes_sent(2), 3 * block);
  EXPECT_EQ(causal.bytes_sent(3), 0);
  for (int rank = 0; rank < ranks; ++rank) {
    for (int step = 0; step < ranks; ++step) {
      EXPECT_EQ(causal.receives(causal.next(rank), step), causal.sends(rank, step));
      if (causal.pairs(rank, causal.origin(rank, step)) > 0 && step > 0) {
        EXPECT_TRUE(causal.receives(rank, step - 1)) << "a block that is needed does not come";
      }
    }
  }
}

TEST(RingPlan, HoldsAShareOfTheSequenceThatFallsWithTheRanks) {
  const Problem p = square_problem(1 << 16, true);
  const auto most = [&](int ranks) {
    const RingPlan plan(p, RingLayout::zigzag, ranks);
    Index bytes = 0;
    for (int rank = 0; rank < ranks; ++rank) bytes = std::max(bytes, plan.memory_bytes(rank));
    return bytes;
  };
  // Queries, two blocks of keys and values, accumulator, maximum and sum, in floats of 4 bytes.
  const Index tokens_of_rank = (1 << 16) / 8;
  EXPECT_EQ(most(8), 4 * tokens_of_rank * (4 + 2 * 8 + 4 + 2));
  EXPECT_EQ(most(16), most(8) / 2);
}

TEST(RingPlan, CountsThePairsOfAWindowOneByOne) {
  for (const bool causal : {true, false}) {
    for (const bool documents : {false, true}) {
      Problem p = square_problem(37, causal);
      p.batch = 2;
      p.num_heads = 3;
      p.num_kv_heads = 1;
      p.query_len = 30;
      p.mask.key_lengths = {37, 21};
      for (Index n = 0; documents && n < 37; ++n) p.mask.document_ids.push_back(n / 11);
      for (const Index window : {0, 1, 5, 36, 1000}) {
        for (RingLayout layout :
             {RingLayout::contiguous, RingLayout::zigzag, RingLayout::striped}) {
          const RingPlan plan(p, layout, 4, {.window = window});
          for (int rank = 0; rank < 4; ++rank) {
            for (int origin = 0; origin < 4; ++origin) {
              double pairs = 0;
              for (Index b = 0; b < 2; ++b) {
                for (Index i = 0; i < plan.queries(rank).size(); ++i) {
                  for (Index j = 0; j < plan.keys(origin).size(); ++j) {
                    const Index query = plan.queries(rank)[i], key = plan.keys(origin)[j];
                    const bool within = std::abs(p.position(query) - key) <= window;
                    pairs += within && p.visible(b, query, key) ? 3 : 0;
                  }
                }
              }
              EXPECT_EQ(plan.pairs(rank, origin), pairs) << window << " " << to_string(layout);
            }
          }
        }
      }
    }
  }
}

// ceil(window / tokens of a rank) hops of every block that has so many ranks behind it.
TEST(RingPlan, OfAWindowMakesOnlyTheHopsThatSomeQueryNeeds) {
  const Problem p = square_problem(80, true);
  const Index block = 10 * 8 * 4;
  for (const auto& [window, hops] :
       {std::pair<Index, int>{0, 0}, {1, 1}, {10, 1}, {11, 2}, {35, 4}}) {
    const RingSettings settings{.window = window};
    EXPECT_EQ(RingPlan::best_layout(p, 8, settings), RingLayout::contiguous);
    const RingPlan plan(p, RingLayout::contiguous, 8, settings);
    for (int rank = 0; rank < 7; ++rank) {
      EXPECT_EQ(plan.bytes_sent(rank), std::min(hops, rank + 1) * block) << window;
    }
    EXPECT_EQ(plan.bytes_sent(7), 0);
  }
  EXPECT_EQ(RingPlan::best_layout(p, 8, {.window = 80}), RingLayout::zigzag);
}

TEST(RingPlan, OfBfloat16OnTheWireSendsHalfAndComputesInTheStorageType) {
  const Problem p = square_problem(64, true);
  const RingPlan plain(p, RingLayout::zigzag, 4),
      halved(p, RingLayout::zigzag, 4, {.wire = DType::bfloat16});
  EXPECT_FALSE(plain.rounds());
  EXPECT_TRUE(halved.rounds());
  EXPECT_EQ(plain.widened_bytes(1), 0);
  EXPECT_EQ(halved.widened_bytes(1), plain.block_bytes(1));
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(2 * halved.bytes_sent(rank), plain.bytes_sent(rank));
    EXPECT_EQ(halved.memory_bytes(rank), plain.memory_bytes(rank));  // two halves and a whole
  }
}

TEST(RingPlan, GatheredHoldsAllThatARankNeedsAndSendsToAllThatNeedIt) {
  const Problem p = square_problem(64, true);
  const RingPlan ring(p, RingLayout::contiguous, 4),
      gathered(p, RingLayout::contiguous, 4, {.all_gather = true});
  const Index block = 16 * 8 * 4;
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(gathered.bytes_sent(rank), (3 - rank) * block);  // causal: to those behind it
    EXPECT_EQ(gathered.memory_bytes(rank) - ring.memory_bytes(rank), std::max(rank - 1, 0) * block)
        << "its own block and one from each rank before, instead of two";
    for (int step = 0; step < 4; ++step) EXPECT_FALSE(gathered.sends(rank, step));
  }
}

// Short sequences, where latency is all; long ones, where memory is.
TEST(RingPlan, IsGatheredOverMpiWhereThatShouldBeFaster) {
  const auto gathers = [](Index tokens, const char* transport) {
    Problem p = square_problem(tokens, true);
    p.head_dim = p.value_dim = 64;
    const Options options(kRing.options, {{"ranks", "8"}, {"transport", transport}});
    return ring_plan(p, options).settings().all_gather;
  };
  EXPECT_TRUE(gathers(512, "mpi"));
  EXPECT_FALSE(gathers(512, "thread"));
  EXPECT_FALSE(gathers(1 << 17, "mpi"));
}

TEST(RingPlan, RefusesShardsThatAreNotTheSequence) {
  std::vector<Shard> shards(2);
  shards[0].append({0, 5});
  shards[1].append({5, 3});
  EXPECT_NO_THROW(RingPlan(square_problem(8, true), shards, shards));
  try {
    RingPlan(square_problem(9, true), shards, shards);
    FAIL();
  } catch (const ProblemError& error) {
    EXPECT_STREQ(error.what(), "shards of 8 queries and 8 keys, problem says 9 and 9");
  }
}

}  // namespace
}  // namespace longattn
