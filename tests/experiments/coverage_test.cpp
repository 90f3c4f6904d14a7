// Whether the interval that is printed beside an error holds the error of all rows as often as it
// says: on the shipped trace and on generated inputs, short enough to judge every row.
#include <gtest/gtest.h>

#include <cmath>

#include "experiments/inputs/generators.h"
#include "experiments/judge/row_judgement.h"
#include "experiments/judge/statistics.h"
#include "variants/longformer.h"

namespace longattn {
namespace {

constexpr Index kTokens = 512, kRows = 256;
constexpr int kRepeats = 300;

Problem problem() {
  Problem p;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.query_len = p.key_len = kTokens;
  p.head_dim = p.value_dim = 64;
  p.mask.causal = true;
  return p;
}

// Squared errors and squared norms of every row, [head][query].
struct AllRows {
  std::vector<std::vector<double>> error2, full2;
};

AllRows judge_all(const InputSpec& spec, Problem p) {
  const InputTensors tensors = make_inputs(spec, p);
  const Inputs inputs{tensors.queries.view(), tensors.keys.view(), tensors.values.view()};
  const Options options(kLongformer.options, {{"window", "16"}});
  const auto attention = make_attention(kLongformer, p, options);
  Tensor output({p.batch, p.num_heads, p.query_len, p.value_dim});
  AllRows all;
  for (Index head = 0; head < p.num_heads; ++head) {
    const auto definition = attention->definition(inputs, 0, head);
    auto &error2 = all.error2.emplace_back(), &full2 = all.full2.emplace_back();
    for (Index query = 0; query < kTokens; ++query) {
      const RowJudgement row =
          judge_rows(*attention, kLongformer.traits(p, options), inputs, *definition,
                     {0, head, {query}, false}, output.mutable_view())[0];
      error2.push_back(row.error2);
      full2.push_back(row.full2);
    }
  }
  return all;
}

double coverage(const AllRows& all, const Problem& p) {
  double error2 = 0, full2 = 0;
  for (size_t h = 0; h < all.error2.size(); ++h) {
    for (double e : all.error2[h]) error2 += e;
    for (double f : all.full2[h]) full2 += f;
  }
  const double truth = std::sqrt(error2 / full2);
  int covered = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    std::vector<double> a, b;
    for (const RowChunk& chunk : sample_rows(p, kRows, static_cast<std::uint64_t>(repeat))) {
      if (chunk.pinned) continue;
      for (Index query : chunk.queries) {
        a.push_back(all.error2[static_cast<size_t>(chunk.head)][static_cast<size_t>(query)]);
        b.push_back(all.full2[static_cast<size_t>(chunk.head)][static_cast<size_t>(query)]);
      }
    }
    const Estimate e = bootstrap_ratio(a, b, 0.5, 1, 300);
    covered += e.low <= truth && truth <= e.high ? 1 : 0;
  }
  return covered / static_cast<double>(kRepeats);
}

class Coverage : public ::testing::TestWithParam<InputSpec> {};

TEST_P(Coverage, OfTheSampledRelativeErrorIsThatOfAllRows) {
  Problem p = problem();
  const InputSpec& spec = GetParam();
  if (spec.is_trace()) p.dtype = DType::bfloat16;
  const double share = coverage(judge_all(spec, p), p);
  RecordProperty("coverage", std::to_string(share));
  // Three standard errors of 300 repeats below 95 %.
  EXPECT_GE(share, 0.95 - 3 * std::sqrt(0.05 * 0.95 / kRepeats));
}

InputSpec trace(Index layer) {
  InputSpec spec;
  spec.path = LONGATTN_SOURCE_DIR "/configs/traces/kjv-2048.safetensors";
  spec.layer = layer;
  spec.label = "trace" + std::to_string(layer);
  return spec;
}

InputSpec gaussian(double temperature) {
  InputSpec spec = generated_input("gaussian", {{"temperature", std::to_string(temperature)}});
  spec.label = "gaussian" + std::to_string(static_cast<int>(temperature));
  return spec;
}

INSTANTIATE_TEST_SUITE_P(Inputs, Coverage,
                         ::testing::Values(trace(1), trace(2), gaussian(1), gaussian(4)),
                         [](const auto& input) { return input.param.label; });

}  // namespace
}  // namespace longattn
