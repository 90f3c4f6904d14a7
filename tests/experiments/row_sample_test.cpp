#include "experiments/judge/row_sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace longattn {
namespace {

Problem of(Index batch, Index heads, Index queries) {
  Problem p;
  p.batch = batch;
  p.num_heads = p.num_kv_heads = heads;
  p.query_len = p.key_len = queries;
  return p;
}

std::vector<Index> queries_of(const std::vector<RowChunk>& chunks, bool pinned, Index head) {
  std::vector<Index> queries;
  for (const RowChunk& chunk : chunks) {
    if (chunk.pinned != pinned || chunk.head != head) continue;
    queries.insert(queries.end(), chunk.queries.begin(), chunk.queries.end());
  }
  return queries;
}

TEST(SampleRows, DrawsOneRowFromEveryStretch) {
  const auto chunks = sample_rows(of(1, 2, 1000), 40, 3);
  for (Index head : {0, 1}) {
    const std::vector<Index> queries = queries_of(chunks, false, head);
    ASSERT_EQ(queries.size(), 20u);
    for (Index n = 0; n < 20; ++n) EXPECT_EQ(queries[static_cast<size_t>(n)] / 50, n);
  }
  EXPECT_NE(queries_of(chunks, false, 0), queries_of(chunks, false, 1));
  EXPECT_NE(queries_of(chunks, false, 0), queries_of(sample_rows(of(1, 2, 1000), 40, 4), false, 0));
}

TEST(SampleRows, AsksForNoMoreThanThereAreAndThenTakesAll) {
  const Problem p = of(2, 3, 7);
  const auto chunks = sample_rows(p, 256, 1);
  EXPECT_EQ(queries_of(chunks, false, 1),
            (std::vector<Index>{0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(is_census(p, 42));
  EXPECT_FALSE(is_census(p, 41));
  EXPECT_TRUE(sample_rows(of(1, 1, 0), 256, 1).empty());
}

TEST(SampleRows, PinsTheFirstAndTheLastQueryOfSomeHeads) {
  EXPECT_EQ(queries_of(sample_rows(of(1, 4, 100), 64, 1), true, 3), (std::vector<Index>{0, 99}));
  EXPECT_EQ(queries_of(sample_rows(of(1, 1, 1), 64, 1), true, 0), (std::vector<Index>{0}));
  Index pinned = 0;
  for (const RowChunk& chunk : sample_rows(of(8, 32, 100), 64, 1)) {
    pinned += chunk.pinned ? static_cast<Index>(chunk.queries.size()) : 0;
  }
  EXPECT_EQ(pinned, 16) << "a quarter of the rows asked for";
}

}  // namespace
}  // namespace longattn
