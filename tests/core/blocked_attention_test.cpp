#include "core/blocked_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "core/dense_schedule.h"
#include "core/softmax_definition.h"
#include "core/softmax_state.h"
#include "tests/core/blocked_test.h"

namespace longattn {
namespace {

TEST(BlockedAttention, CarriedOverTwoHalvesOfTheKeysEqualsOnePass) {
  const Problem p = small_problem(40, 300);
  ProblemTensors t(p);
  Context context(1);
  // Key range [begin, end) only.
  class Part final : public DenseSchedule {
   public:
    Part(const Problem& problem, Index begin, Index end)
        : DenseSchedule(problem, 16, 64), begin_(begin), end_(end) {}
    Index sources(Index, Index, Index, std::span<KeySource> out) const override {
      out[0] = {{begin_, end_ - begin_}, false};
      return 1;
    }

   private:
    Index begin_, end_;
  };
  Tensor accumulator({1, 2, 40, 36}), maximum({1, 2, 40, 1}), sum({1, 2, 40, 1});
  const SoftmaxState state{accumulator.mutable_view(), maximum.mutable_view(), sum.mutable_view()};
  for (const bool forwards : {true, false}) {
    reset(state);
    const Part first(p, 0, 133), second(p, 133, 300);
    accumulate_attention(p, t.inputs(), forwards ? first : second, state, context);
    accumulate_attention(p, t.inputs(), forwards ? second : first, state, context);
    finish(state, t.outputs());
    expect_rows_equal_definition(p, t, t.output, 64);
    const auto definition = softmax_definition(p, t.inputs(), 0, 0);
    const std::vector<Index> query = {7};
    EXPECT_NEAR(*t.logsumexp.mutable_view().row(0, 0, 7), definition->rows(query).logsumexp(0),
                1e-5);
  }
}

// Queries whose number is congruent to the block's modulo 3, and of the keys one half by source 0
// and the rest by source 1.
class ResidueSchedule final : public DenseSchedule {
 public:
  ResidueSchedule(const Problem& p, Index begin, Index end)
      : DenseSchedule(p, 96, 64), p_(p), begin_(begin), end_(end) {}
  Index num_blocks(Index, Index) const override { return std::min<Index>(3, p_.query_len); }
  TokenSet queries(Index, Index, Index block) const override {
    return {block, (p_.query_len - block + 2) / 3, 3, nullptr};
  }
  Index max_sources() const override { return 2; }
  // Both sources name all keys: only the number of the source tells which are which.
  Index sources(Index, Index, Index, std::span<KeySource> out) const override {
    out[0] = out[1] = {{begin_, end_ - begin_}, true};
    return 2;
  }
  void mask(const Tile& tile, TileMask& mask) const override {
    DenseSchedule::mask(tile, mask);
    const Index middle = tile.keys.count_below((begin_ + end_) / 2);
    for (Index r = 0; r < mask.rows; ++r) {
      if (tile.source == 0) mask.clip(r, 0, middle);
      if (tile.source == 1) mask.clip(r, middle, tile.keys.count);
    }
  }

 private:
  const Problem& p_;
  Index begin_, end_;
};

TEST(BlockedAttention, InPassesOverDifferentOrdersOfTheQueriesEqualsTheDefinition) {
  for (const bool causal : {false, true}) {
    for (const Index query_len : {1, 2, 130}) {
      Problem p = small_problem(query_len, 4500);
      p.mask.causal = causal;
      ProblemTensors t(p);
      const ResidueSchedule first(p, 0, 1000), second(p, 1000, 2333), third(p, 2333, 4500);
      const std::vector<const BlockSchedule*> passes = {&first, &second, &third};
      Context one(1), two(2);
      std::fill_n(t.output.floats(), t.output.size(), std::nanf(""));  // not read
      blocked_attention(p, t.inputs(), passes, t.outputs(), one);
      expect_rows_equal_definition(p, t, t.output, 64);
      const auto definition = softmax_definition(p, t.inputs(), 0, 1);
      const std::vector<Index> query = {query_len / 2};
      EXPECT_NEAR(*t.logsumexp.mutable_view().row(0, 1, query[0]),
                  definition->rows(query).logsumexp(0), 1e-5);
      Tensor again(t.output.shape());
      blocked_attention(p, t.inputs(), passes, {again.mutable_view(), {}}, two);
      EXPECT_EQ(std::memcmp(again.floats(), t.output.floats(), static_cast<size_t>(again.bytes())),
                0);
      EXPECT_EQ(two.workspace().peak_bytes(), blocked_workspace_bytes(p, passes, 2));
    }
  }
}

TEST(BlockedAttention, SplitsLongKeysOfFewQueriesAndStillEqualsTheDefinition) {
  Problem p = small_problem(1, 9000);  // one query block a head: keys are cut into parts
  ProblemTensors t(p);
  Context one(1), two(2);
  const DenseSchedule schedule(p, 96, 256);
  blocked_attention(p, t.inputs(), schedule, t.outputs(), one);
  expect_rows_equal_definition(p, t, t.output, 256);
  Tensor again({1, 2, 1, 36});
  blocked_attention(p, t.inputs(), schedule, {again.mutable_view(), {}}, two);
  EXPECT_EQ(std::memcmp(again.floats(), t.output.floats(), static_cast<size_t>(again.bytes())), 0);
  EXPECT_EQ(two.workspace().peak_bytes(), blocked_workspace_bytes(p, schedule, 2));
}

TEST(BlockedAttention, TakesNothingNewFromTheSystemInASecondCall) {
  const Problem p = small_problem(200, 200);
  ProblemTensors t(p);
  Context context(1);
  const DenseSchedule schedule(p, 32, 64);
  blocked_attention(p, t.inputs(), schedule, t.output_alone(), context);
  const Index peak = context.workspace().peak_bytes();
  context.workspace().reset_peak();
  blocked_attention(p, t.inputs(), schedule, t.output_alone(), context);
  EXPECT_EQ(context.workspace().peak_bytes(), peak);
  EXPECT_EQ(context.workspace().bytes(), 0);
}

TEST(BlockedAttention, PassesOnANaNThatAQueryDoesSee) {
  Problem p = small_problem(30, 30);
  p.mask.causal = true;
  ProblemTensors t(p);
  t.keys.floats()[10 * p.head_dim] = std::nanf("");  // key 10
  Context context(1);
  const DenseSchedule schedule(p, 16, 32);
  blocked_attention(p, t.inputs(), schedule, t.output_alone(), context);
  for (Index i = 0; i < p.query_len; ++i) {
    EXPECT_EQ(std::isnan(t.output.view().float_row(0, 0, i)[0]), i >= 10) << i;
  }
}

// Even rows see nothing, and say so with an interval at the first column; odd rows see the last
// keys.
class HalfEmptySchedule final : public DenseSchedule {
 public:
  using DenseSchedule::DenseSchedule;
  Index sources(Index b, Index head, Index block, std::span<KeySource> out) const override {
    const Index count = DenseSchedule::sources(b, head, block, out);
    out[0].partial = true;
    return count;
  }
  void mask(const Tile& tile, TileMask& mask) const override {
    for (Index r = 0; r < mask.rows; ++r) {
      if (tile.queries[r] % 2 == 0) {
        mask.clip(r, 0, 0);
      } else {
        mask.clip(r, tile.keys.count_below(100), mask.columns);
      }
    }
  }
};

TEST(BlockedAttention, LeavesRowsThatSeeNothingAmongOthersThatSeeLateColumns) {
  const Problem p = small_problem(40, 120);
  ProblemTensors t(p);
  Context context(1);
  blocked_attention(p, t.inputs(), HalfEmptySchedule(p, 16, 128), t.outputs(), context);
  expect_rows_equal_definition(p, t, t.output, 128,
                               [](Index i, Index j) { return i % 2 == 1 && j >= 100; });
}

class ThrowingSchedule final : public DenseSchedule {
 public:
  using DenseSchedule::DenseSchedule;
  void mask(const Tile& tile, TileMask&) const override {
    if (tile.head > 0) throw std::runtime_error("a pattern gone wrong");
  }
};

// Workers wait for each other's keys; one that fails must not leave the others waiting.
TEST(BlockedAttention, PassesOnWhatAScheduleThrows) {
  Problem p = small_problem(300, 300);
  p.num_heads = p.num_kv_heads = 8;
  p.mask.causal = true;
  ProblemTensors t(p);
  const ThrowingSchedule schedule(p, 16, 32);
  for (int threads : {1, 2, 3}) {
    Context context(threads);
    EXPECT_THROW(blocked_attention(p, t.inputs(), schedule, t.output_alone(), context),
                 std::runtime_error);
  }
}

}  // namespace
}  // namespace longattn
