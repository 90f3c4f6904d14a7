// What each rank makes for itself and judges with the others, held against the whole in one place.
#include "experiments/judge/shards.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <thread>

#include "experiments/inputs/generators.h"
#include "tests/test_tensors.h"
#include "variants/ring/ring.h"
#include "variants/ring/thread_communicator.h"

namespace longattn {
namespace {

constexpr RingLayout kLayouts[] = {RingLayout::contiguous, RingLayout::zigzag, RingLayout::striped};

// Rows of some tokens of a dense tensor.
Tensor rows_of(const Tensor& whole, const Shard& shard) {
  const auto [batch, heads, len, dim] = whole.shape();
  Tensor part({batch, heads, shard.size(), dim}, whole.dtype());
  const auto bytes = static_cast<size_t>(dim * byte_size(whole.dtype()));
  std::byte* to = part.bytes_begin();
  for (Index b = 0; b < batch; ++b) {
    for (Index h = 0; h < heads; ++h) {
      for (Index n = 0; n < shard.size(); ++n, to += bytes) {
        std::memcpy(to, whole.view().row(b, h, shard[n]), bytes);
      }
    }
  }
  return part;
}

void expect_same_bytes(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  ASSERT_EQ(a.dtype(), b.dtype());
  EXPECT_EQ(std::memcmp(a.bytes_begin(), b.bytes_begin(), static_cast<size_t>(a.bytes())), 0);
}

void expect_parts_of_whole(const InputSpec& spec, const Problem& p) {
  const InputTensors whole = make_inputs(spec, p);
  for (const RingLayout layout : kLayouts) {
    for (int rank = 0; rank < 3; ++rank) {
      const Shard queries = make_shard(layout, p.query_len, 3, rank),
                  keys = make_shard(layout, p.key_len, 3, rank);
      const InputTensors part = make_inputs_of(spec, p, queries.segments(), keys.segments(), 2);
      expect_same_bytes(part.queries, rows_of(whole.queries, queries));
      expect_same_bytes(part.keys, rows_of(whole.keys, keys));
      expect_same_bytes(part.values, rows_of(whole.values, keys));
    }
  }
}

Problem problem() {
  Problem p;
  p.batch = 2;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.query_len = p.key_len = 61;
  p.head_dim = 8;
  p.value_dim = 6;
  p.mask.causal = true;
  return p;
}

TEST(ShardInputs, AreTheRowsOfTheWholeToTheBit) {
  Problem p = problem();
  p.head_dim = 64;  // some generators ask for more than a few
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    p.dtype = dtype;
    for (const Generator* generator : generators()) {
      std::vector<std::pair<std::string, std::string>> options;
      if (generator->name == "local") options = {{"half_mass_distance", "4"}};
      expect_parts_of_whole(generated_input(generator->name, options), p);
    }
  }
}

TEST(ShardInputs, AreTheRowsOfATrace) {
  InputSpec spec;
  spec.path = LONGATTN_SOURCE_DIR "/configs/traces/kjv-2048.safetensors";
  const Trace trace = read_trace(spec.path, spec.layer = 1);
  Problem p = problem_of(trace.queries, trace.keys, trace.values);
  p.query_len = p.key_len = 301;
  expect_parts_of_whole(spec, p);
  p.key_len = 1 << 20;
  EXPECT_THROW(make_inputs_of(spec, p, {{0, 1}}, {{0, 1}}), ShapeError);
  p.key_len = 301;
  p.head_dim += 1;
  EXPECT_THROW(make_inputs_of(spec, p, {{0, 1}}, {{0, 1}}), ShapeError);
}

using OptionTexts = std::vector<std::pair<std::string, std::string>>;

Options ring_options(OptionTexts texts, int ranks) {
  texts.emplace_back("ranks", std::to_string(ranks));
  return Options(kRing.options, texts);
}

// One rank is one thread here. Each gets only its own rows.
std::vector<CellResult> judge_by_shards(const Problem& p, const ProblemTensors& t,
                                        const OptionTexts& texts, int ranks, Index rows) {
  const Options options = ring_options(texts, ranks);
  const auto ring = make_attention(kRing, p, options);
  const RingPlan plan = ring_plan(p, options);
  Workspace shared;
  ThreadTeam team(ranks, shared);
  std::vector<CellResult> results(static_cast<size_t>(ranks));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadCommunicator communicator(team, rank);
      Context context(1);
      const Tensor queries = rows_of(t.queries, plan.queries(rank)),
                   keys = rows_of(t.keys, plan.keys(rank)),
                   values = rows_of(t.values, plan.keys(rank)),
                   output = rows_of(t.output, plan.queries(rank));
      judge_shards(*ring, kRing.traits(p, options),
                   {plan, rank, {queries.view(), keys.view(), values.view(), {}}, output.view()},
                   {rows, 1}, communicator,
                   std::chrono::steady_clock::now() + std::chrono::minutes(1), context,
                   results[static_cast<size_t>(rank)]);
    });
  }
  threads.clear();  // joins
  return results;
}

CellResult judge_whole(const Problem& p, ProblemTensors& t, const OptionTexts& texts, int ranks,
                       Index rows) {
  const Options options = ring_options(texts, ranks);
  const auto ring = make_attention(kRing, p, options);
  Context context(1);
  CellResult result;
  judge_errors({*ring, kRing.traits(p, options), t.inputs(), t.output.mutable_view()}, {rows, 1},
               context, result);
  return result;
}

void forward(const Problem& p, ProblemTensors& t, const OptionTexts& texts, int ranks) {
  Context context(1);
  make_attention(kRing, p, ring_options(texts, ranks))
      ->forward(t.inputs(), t.output_alone(), context);
}

void expect_same(const CellResult& found, const CellResult& whole) {
  EXPECT_EQ(found.status, Status::ok) << found.reason;
  EXPECT_EQ(found.sampled_rows, whole.sampled_rows);
  // Double rounding of sums over all keys, seen through a tolerance of 2^-23 and more.
  EXPECT_NEAR(*found.implementation_ratio, *whole.implementation_ratio, 61 * 0x1p-30);
  const auto expect_near = [](double a, double b) { EXPECT_NEAR(a, b, 1e-9 * b + 1e-14); };
  expect_near(*found.gate_resolution, *whole.gate_resolution);
  expect_near(*found.mean_value_error, *whole.mean_value_error);
  expect_near(*found.row_entropy, *whole.row_entropy);
  expect_near(found.relative_error->value, whole.relative_error->value);
  expect_near(*found.max_abs_error, *whole.max_abs_error);
  expect_near(found.captured_mass->value, whole.captured_mass->value);
  expect_near(*found.kl_divergence, *whole.kl_divergence);
  expect_near(*found.uncovered_rows, *whole.uncovered_rows);
  if (found.total_variation) expect_near(*found.total_variation, *whole.total_variation);
  if (found.top_recall) expect_near(*found.top_recall, whole.top_recall.value_or(1));
  // Another order of the same roundings.
  EXPECT_GT(*found.relative_error_floor, 0.1 * *whole.relative_error_floor);
  EXPECT_LT(*found.relative_error_floor, 10 * *whole.relative_error_floor);
}

TEST(JudgeShards, LearnsWhatJudgingTheWholeDoes) {
  for (const bool causal : {true, false}) {
    Problem p = problem();
    p.mask.causal = causal;
    p.query_len = causal ? 67 : 61;  // the first queries see nothing
    p.mask.key_lengths = {61, 20};
    p.mask.alibi_slopes = {0, 0.1, 0.3, 1};
    ProblemTensors t(p, 1, 2);
    for (const int ranks : {1, 3, 5}) {
      for (const OptionTexts& options : {OptionTexts{{"layout", "contiguous"}},
                                         {{"layout", "zigzag"}},
                                         {{"layout", "striped"}},
                                         {{"window", "9"}},
                                         {{"wire", "bfloat16"}},
                                         {{"window", "9"}, {"wire", "bfloat16"}}}) {
        forward(p, t, options, ranks);
        for (const Index rows : {Index{40}, Index{100000}}) {
          const CellResult whole = judge_whole(p, t, options, ranks, rows);
          for (const CellResult& found : judge_by_shards(p, t, options, ranks, rows)) {
            expect_same(found, whole);
          }
        }
      }
    }
  }
}

TEST(JudgeShards, SeesAnOutputThatIsWrongByLittleAndOneThatIsNoNumber) {
  const Problem p = problem();
  ProblemTensors t(p, 1, 2);
  forward(p, t, {}, 3);
  std::vector<float> right(t.output.floats(), t.output.floats() + t.output.size());
  for (float& x : std::span(t.output.floats(), right.size())) x *= 1.001f;
  for (const CellResult& found : judge_by_shards(p, t, {}, 3, 40)) {
    EXPECT_EQ(found.status, Status::nonconforming);
    EXPECT_GT(*found.implementation_ratio, 1);
  }
  std::copy(right.begin(), right.end(), t.output.floats());
  t.output.floats()[(61 * 1 + 60) * 6 + 2] = std::numeric_limits<float>::quiet_NaN();
  for (const CellResult& found : judge_by_shards(p, t, {}, 3, 40)) {
    EXPECT_EQ(found.status, Status::nan);
    EXPECT_EQ(found.reason,
              "1 output rows of rank 0 hold NaN or infinity, the first at batch 0, head 1, query "
              "60");
  }
}

}  // namespace
}  // namespace longattn
