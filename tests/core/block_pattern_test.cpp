#include "core/block_pattern.h"

#include <gtest/gtest.h>

#include <vector>

namespace longattn {
namespace {

Problem problem(Index query_len, Index key_len) {
  Problem p;
  p.num_heads = p.num_kv_heads = 1;
  p.query_len = query_len;
  p.key_len = key_len;
  return p;
}

std::vector<std::vector<Index>> runs_of(const BlockPattern& pattern, Index row) {
  std::vector<std::vector<Index>> runs;
  for (const auto& run : pattern.row(0, row)) runs.push_back({run.begin, run.end});
  return runs;
}

TEST(BlockPattern, MergesRunsThatTouchAndCutsWhatLiesBeyond) {
  BlockPattern pattern(problem(100, 100), 10);
  pattern.add_row({{7, 8}, {-2, 1}, {0, 2}, {5, 5}, {2, 3}, {9, 40}});
  pattern.add_row({});
  EXPECT_EQ(runs_of(pattern, 0), (std::vector<std::vector<Index>>{{0, 3}, {7, 8}, {9, 10}}));
  EXPECT_TRUE(runs_of(pattern, 1).empty());
  EXPECT_EQ(pattern.max_runs(), 3);
}

TEST(BlockPattern, PutsEveryQueryInOneBlockOfItsRow) {
  for (Index query_len : {0, 1, 37, 100, 250}) {
    for (Index size : {1, 7, 64, 100, 1000}) {
      const Problem p = problem(query_len, 100);
      BlockPattern pattern(p, size);
      for (Index row = 0; row < pattern.num_blocks(); ++row) pattern.add_row({{row, row + 1}});
      const BlockPatternSchedule schedule(p, pattern);
      Index next = 0;
      for (Index block = 0; block < schedule.num_blocks(0, 0); ++block) {
        const TokenSet rows = schedule.queries(0, 0, block);
        EXPECT_EQ(rows[0], next);
        EXPECT_GT(rows.count, 0);
        EXPECT_LE(rows.count, schedule.query_block());
        EXPECT_EQ(pattern.row_of(p.position(rows[0])),
                  pattern.row_of(p.position(rows[rows.count - 1])));
        next += rows.count;
      }
      EXPECT_EQ(next, query_len);
    }
  }
}

TEST(BlockPattern, ReadsNeighbouringBlocksAsOneFullSource) {
  Problem p = problem(512, 512);
  BlockPattern pattern(p, 64);
  for (Index row = 0; row < 8; ++row) pattern.add_row({{row - 1, row}, {row, row + 1}, {6, 7}});
  std::vector<KeySource> sources(static_cast<size_t>(pattern.max_runs()));
  const BlockPatternSchedule schedule(p, pattern);
  ASSERT_EQ(schedule.sources(0, 0, 3, sources), 2);
  EXPECT_EQ(sources[0].keys.begin, 128);
  EXPECT_EQ(sources[0].keys.count, 128);
  EXPECT_FALSE(sources[0].partial);
  EXPECT_EQ(sources[1].keys.begin, 384);
  EXPECT_FALSE(sources[1].partial);
  p.mask.causal = true;
  ASSERT_EQ(schedule.sources(0, 0, 3, sources), 1);
  EXPECT_EQ(sources[0].keys.count, 128);
  EXPECT_TRUE(sources[0].partial);  // its last block is the diagonal
}

}  // namespace
}  // namespace longattn
