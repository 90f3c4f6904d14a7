// Whether the intervals that are printed beside the figures of sampled rows hold those of all rows
// as often as they say: on the shipped trace and on every generator, short enough to judge every
// row.
#include <gtest/gtest.h>

#include <cmath>

#include "experiments/inputs/generator.h"
#include "experiments/inputs/generators.h"
#include "experiments/judge/errors.h"
#include "experiments/judge/row_judgement.h"
#include "experiments/judge/statistics.h"
#include "variants/longformer.h"

namespace longattn {
namespace {

constexpr Index kTokens = 512, kHeads = 4, kRows = 256;
constexpr int kRepeats = 300;

Problem problem() {
  Problem p;
  p.num_heads = kHeads;
  p.num_kv_heads = 2;
  p.query_len = p.key_len = kTokens;
  p.head_dim = p.value_dim = 64;
  p.mask.causal = true;
  return p;
}

using Judgements = std::vector<RowJudgement>;

// Every row, [head * kTokens + query].
Judgements judge_all(const InputSpec& spec, const Problem& p) {
  const InputTensors tensors = make_inputs(spec, p);
  const Inputs inputs{tensors.queries.view(), tensors.keys.view(), tensors.values.view()};
  const Options options(kLongformer.options, {{"window", "16"}});
  const auto attention = make_attention(kLongformer, p, options);
  Tensor output({p.batch, p.num_heads, p.query_len, p.value_dim});
  Judgements all;
  for (Index head = 0; head < kHeads; ++head) {
    const auto definition = attention->definition(inputs, 0, head);
    for (Index first = 0; first < kTokens; first += kRowsAtOnce) {
      RowChunk chunk{0, head, {}, false};
      for (Index n = 0; n < kRowsAtOnce; ++n) chunk.queries.push_back(first + n);
      const Judgements rows = judge_rows(*attention, kLongformer.traits(p, options), inputs,
                                         *definition, chunk, output.mutable_view());
      all.insert(all.end(), rows.begin(), rows.end());
    }
  }
  return all;
}

// The rows that one run would judge.
Judgements sampled(const Judgements& all, const Problem& p, Index rows, int repeat, Index head) {
  Judgements some;
  for (const RowChunk& chunk : sample_rows(p, rows, static_cast<std::uint64_t>(repeat))) {
    if (chunk.pinned || (head >= 0 && chunk.head != head)) continue;
    for (Index query : chunk.queries) {
      some.push_back(all[static_cast<size_t>(chunk.head * kTokens + query)]);
    }
  }
  return some;
}

using Part = double RowJudgement::*;

std::vector<double> column(const Judgements& rows, Part part) {
  std::vector<double> values;
  for (const RowJudgement& row : rows) values.push_back(row.*part);
  return values;
}

std::vector<double> row_errors(const Judgements& rows) {
  std::vector<double> errors;
  for (const RowJudgement& row : rows) errors.push_back(std::sqrt(row.error2 / row.full2));
  return errors;
}

Estimate relative_error(const Judgements& rows) {
  return bootstrap_ratio(column(rows, &RowJudgement::error2), column(rows, &RowJudgement::full2),
                         0.5, 1, 300);
}
Estimate lost_mass(const Judgements& rows) {
  return bootstrap_ratio(column(rows, &RowJudgement::lost), column(rows, &RowJudgement::visible), 1,
                         1, 300);
}
Estimate entropy(const Judgements& rows) {
  return bootstrap_ratio(column(rows, &RowJudgement::entropy), column(rows, &RowJudgement::visible),
                         1, 1, 300);
}
Estimate median_row(const Judgements& rows) { return median_interval(row_errors(rows)); }

// How often the interval of a sample holds the figure of all rows (of one head, or of all: -1).
double coverage(const Judgements& all, const Problem& p, Estimate (*figure)(const Judgements&),
                Index rows, Index head = -1) {
  const auto first = all.begin() + std::max<Index>(head, 0) * kTokens;
  const double truth = figure(head < 0 ? all : Judgements(first, first + kTokens)).value;
  int covered = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const Estimate e = figure(sampled(all, p, rows, repeat, head));
    covered += e.low <= truth && truth <= e.high ? 1 : 0;
  }
  return covered / static_cast<double>(kRepeats);
}

InputSpec trace(Index layer) {
  InputSpec spec;
  spec.path = LONGATTN_SOURCE_DIR "/configs/traces/kjv-2048.safetensors";
  spec.layer = layer;
  spec.label = "trace" + std::to_string(layer);
  return spec;
}

std::vector<InputSpec> inputs() {
  std::vector<InputSpec> specs = {trace(1), trace(2)};
  for (const Generator* generator : generators()) {
    specs.push_back(generated_input(generator->name));
    specs.back().label = std::string(generator->name);
  }
  specs.push_back(generated_input("gaussian", {{"temperature", "4"}}));
  specs.back().label = "gaussian4";
  return specs;
}

class CoverageOf : public ::testing::TestWithParam<InputSpec> {
 protected:
  // Three standard errors of the repeats below what is promised.
  void expect(double share, double promised, const std::string& name) {
    RecordProperty(name, std::to_string(share));
    EXPECT_GE(share, promised - 3 * std::sqrt(promised * (1 - promised) / kRepeats)) << name;
  }
};

TEST_P(CoverageOf, SampledRowsIsThatOfAllRows) {
  Problem p = problem();
  const InputSpec& spec = GetParam();
  if (spec.is_trace()) p.dtype = DType::bfloat16;
  const Judgements all = judge_all(spec, p);
  expect(coverage(all, p, relative_error, kRows), kSimulatedCoverage, "relative_error");
  expect(coverage(all, p, lost_mass, kRows), kSimulatedCoverage, "captured_mass");
  expect(coverage(all, p, entropy, kRows), kSimulatedCoverage, "row_entropy");
  expect(coverage(all, p, median_row, kRows), kSimulatedCoverage, "row_error_median");
  for (Index head = 0; head < kHeads; ++head) {
    const std::string name = "head_" + std::to_string(head);
    expect(coverage(all, p, relative_error, kRows, head), kSimulatedHeadCoverage, name);
    expect(coverage(all, p, relative_error, kHeads * kFewestHeadRows, head), kSimulatedHeadCoverage,
           name + "_few");
  }
}

// What the report says of a shortfall is no idle caution.
TEST(Coverage, OfOneHeadFallsShortWhereItsErrorHangsOnFewRows) {
  Problem p = problem();
  p.dtype = DType::bfloat16;
  const double share =
      coverage(judge_all(trace(1), p), p, relative_error, kHeads * kFewestHeadRows, 2);
  EXPECT_LT(share, kSimulatedHeadCoverage + 0.1);
}

INSTANTIATE_TEST_SUITE_P(Inputs, CoverageOf, ::testing::ValuesIn(inputs()),
                         [](const auto& input) { return input.param.label; });

}  // namespace
}  // namespace longattn
