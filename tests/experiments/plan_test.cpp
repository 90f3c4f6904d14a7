#include "experiments/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/io/npy.h"
#include "experiments/forecast.h"
#include "experiments/report/csv.h"
#include "experiments/report/tables.h"
#include "experiments/report/text.h"
#include "experiments/serialize.h"
#include "tests/experiments/config_testing.h"
#include "variants/registry.h"

namespace longattn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

std::string config(std::string_view rest) {
  return "longattn: 1\nname: t\nthreads: 1\n" + std::string(rest);
}

std::vector<PlannedCell> plan_of(const TemporaryFolder& folder, std::string_view rest) {
  return make_plan(read_text(folder, config(rest)));
}

std::string id_of(const TemporaryFolder& folder, std::string_view rest) {
  const auto plan = plan_of(folder, rest);
  EXPECT_EQ(plan.size(), 1u) << rest;
  return plan.at(0).cell.id;
}

TEST(Plan, CellsComeInTheOrderInputLengthVariantThreads) {
  const TemporaryFolder folder;
  const auto plan = make_plan(read_text(
      folder,
      "longattn: 1\nname: t\nthreads: [2, 1]\n"
      "inputs: [{label: a, gaussian: {}}, {label: b, gaussian: {seed: 2}}]\n"
      "problem: {lengths: [32, 16]}\nvariants: [plain, tiny: {sweep: {window: [2, 1]}}]\n"));
  ASSERT_EQ(plan.size(), 24u);
  std::vector<std::string> order;
  for (const PlannedCell& planned : plan) {
    const Cell& c = planned.cell;
    std::string text = c.input.label + std::to_string(c.problem.key_len) + c.variant;
    if (!c.options.empty()) text += c.options[0].second;
    order.push_back(text + "/" + std::to_string(c.threads));
  }
  order.resize(8);
  EXPECT_THAT(order, ElementsAre("a32plain/2", "a32plain/1", "a32tiny2/2", "a32tiny2/1",
                                 "a32tiny1/2", "a32tiny1/1", "a16plain/2", "a16plain/1"));
  EXPECT_EQ(plan.back().cell.input.label, "b");
}

TEST(Plan, EveryCellHasAnIdOfItsOwnThatStays) {
  const TemporaryFolder folder;
  write_tiny_trace(folder / "t.safetensors");
  const std::string text =
      "inputs: [{trace: t.safetensors, layer: 0}, {trace: t.safetensors, layer: 1},\n"
      "  gaussian: {}, gaussian: {temperature: 2}]\n"
      "problem: {lengths: [16, 32]}\nvariants: [plain, tiny: {sweep: {window: [1, 2]}}]\n";
  const auto first = plan_of(folder, text), second = plan_of(folder, text);
  std::set<std::string> ids;
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_THAT(first[i].cell.id, MatchesRegex("[0-9a-f]+"));
    EXPECT_EQ(first[i].cell.id.size(), 16u);
    EXPECT_EQ(first[i].cell.id, second[i].cell.id);
    ids.insert(first[i].cell.id);
  }
  EXPECT_EQ(ids.size(), 24u);
}

TEST(Plan, TheIdFollowsWhatDeterminesTheNumbersAndNothingElse) {
  const TemporaryFolder folder;
  const std::string input = "inputs: [gaussian: {}]\n", length = "problem: {lengths: 16}\n";
  const std::string base = id_of(folder, input + length + "variants: [tiny]\n");

  // The same numbers: another label, defaults written out, other limits and rounds.
  EXPECT_EQ(base, id_of(folder, "inputs: [{label: x, gaussian: {temperature: 1, seed: 1}}]\n" +
                                    length + "variants: [tiny: {window: 8}]\n"));
  EXPECT_EQ(base, id_of(folder, input + "problem: {lengths: 16, head_dim: 64, scale: 0.125}\n"
                                        "variants: [tiny]\nmeasure: {rounds: 2}\n"));

  // Other numbers.
  std::set<std::string> ids = {base};
  for (const std::string& other : {
           input + length + "variants: [tiny: {window: 9}]\n",
           input + length + "variants: [plain]\n",
           input + length + "variants: [tiny]\nseed: 2\n",
           input + "problem: {lengths: 17}\nvariants: [tiny]\n",
           input + "problem: {lengths: 16, causal: true}\nvariants: [tiny]\n",
           input + "problem: {lengths: 16, scale: 0.5}\nvariants: [tiny]\n",
           input + "problem: {lengths: 16, dtype: float16}\nvariants: [tiny]\n",
           input + "problem: {lengths: 16, batch: 2}\nvariants: [tiny]\n",
           "inputs: [gaussian: {seed: 2}]\n" + length + "variants: [tiny]\n",
           "inputs: [gaussian: {temperature: 2}]\n" + length + "variants: [tiny]\n",
       }) {
    EXPECT_TRUE(ids.insert(id_of(folder, other)).second) << other;
  }
  const auto two_threads = make_plan(read_text(
      folder, "longattn: 1\nname: t\nthreads: 2\n" + input + length + "variants: [tiny]\n"));
  EXPECT_TRUE(ids.insert(two_threads.at(0).cell.id).second);
}

TEST(Plan, TheIdFollowsTheBytesOfATraceNotItsName) {
  const TemporaryFolder folder;
  write_tiny_trace(folder / "a.safetensors");
  write_tiny_trace(folder / "b.safetensors");
  const auto id = [&](const char* file) {
    return id_of(folder, "inputs: [trace: " + std::string(file) +
                             "]\nproblem: {lengths: 8}\nvariants: [plain]\n"
                             "limits: {max_cells: 1}\n");
  };
  // plain refuses causal traces, which still have an id.
  EXPECT_EQ(id("a.safetensors"), id("b.safetensors"));
  const std::string before = id("b.safetensors");
  write_tiny_trace(folder / "b.safetensors", 40, 40);
  EXPECT_NE(id("b.safetensors"), before);
}

TEST(Plan, TheIdFollowsTheBytesOfAnOptionsFileNotItsName) {
  const TemporaryFolder folder;
  const auto write = [&](const char* file, float number) {
    write_npy(folder / file, std::vector<Index>{1}, std::vector<float>{number});
  };
  const auto id = [&](const char* file) {
    return id_of(folder,
                 "inputs: [gaussian: {}]\nproblem: {lengths: 8}\nvariants: [greedy: {layout: " +
                     std::string(file) + "}]\n");
  };
  write("a.npy", 1);
  write("b.npy", 1);
  EXPECT_EQ(id("a.npy"), id("b.npy"));
  write("b.npy", 2);
  EXPECT_NE(id("a.npy"), id("b.npy"));
}

// From the plan into the journal's records, and out again into every form of the report.
TEST(Plan, TellsTheFiguresThatOnlyAVariantKnows) {
  const TemporaryFolder folder;
  const std::string path = folder.file(
      "ring.yaml", config("inputs: [gaussian: {}]\nproblem: {lengths: 64, causal: true}\n"
                          "variants: [ring: {ranks: 3, layout: contiguous}, zero]\n"));
  const Variant* variants[] = {&require_variant(builtin_variants(), "ring"),
                               &require_variant(builtin_variants(), "zero")};
  const auto plan = make_plan(read_experiment(path, variants));
  ASSERT_EQ(plan.at(0).figures.size(), 4u);  // memory, bytes sent, balance, all gather
  EXPECT_EQ(plan.at(0).figures.at(1).values.size(), 3u);
  EXPECT_TRUE(plan.at(1).figures.empty());

  CellResult told;
  told.figures = plan.at(0).figures;
  CellResult read;
  apply_measurements(measurements_to_json(told), read);
  EXPECT_THAT(read.figures, ::testing::UnorderedElementsAreArray(told.figures));

  RunResults results;
  results.cells = {told};
  results.cells[0].cell = plan.at(0).cell;
  EXPECT_THAT(to_csv(result_table(results)), HasSubstr("plan.rank_sent_bytes"));
  EXPECT_THAT(terminal_table(results), HasSubstr("rank memory"));
  // Of 21, 21 and 22 tokens (8 heads, 64 + 64 floats) each rank passes on what a later one sees:
  // the first its own, the second its own and the first's, the last none.
  const double block = 21 * 8 * 128 * 4;
  EXPECT_THAT(told.figures.at(1).values, ElementsAre(block, 2 * block, 0));
}

TEST(Plan, FiguresAreToldByTheirLeastAndMostPart) {
  EXPECT_EQ(figures_text({{"rank_memory_bytes", {2048, 1024, 1024}}, {"balance", {0.5}}}),
            "rank memory 1.00 KiB to 2.00 KiB, balance 0.500");
  EXPECT_EQ(figures_text({{"rank_sent_bytes", {512, 512}}, {"nothing", {}}}), "rank sent 512 B");
  EXPECT_EQ(figures_text({}), "");
}

TEST(Plan, WhatAVariantRefusesIsACellWithTheReason) {
  const TemporaryFolder folder;
  const auto plan = plan_of(folder,
                            "inputs: [gaussian: {}]\nproblem: {lengths: 16, causal: true}\n"
                            "variants: [plain, tiny]\n");
  ASSERT_EQ(plan.size(), 2u);
  EXPECT_EQ(plan[0].unsupported, "plain has no causal form");
  EXPECT_FALSE(plan[0].cost.has_value());
  EXPECT_EQ(plan[1].unsupported, "");
  ASSERT_TRUE(plan[1].cost.has_value());
  EXPECT_EQ(plan[1].cost->flops, 32);
  EXPECT_EQ(plan[1].growth.time, 1);
}

TEST(Plan, WhatCannotFitIsSkippedWithTheFigures) {
  const TemporaryFolder folder;
  const auto plan = plan_of(folder,
                            "inputs: [gaussian: {}]\nvariants: [greedy, tiny]\n"
                            "problem: {lengths: [1, 4], num_heads: 1000, head_dim: 25000}\n"
                            "limits: {memory: 4GB}\n");
  ASSERT_EQ(plan.size(), 4u);
  // 1 GB of workspace; queries, keys, values and output 0.1 GB each.
  EXPECT_EQ(plan[0].skipped, "");
  EXPECT_EQ(plan[1].skipped, "");
  EXPECT_EQ(plan[2].skipped,
            "needs 16.4 GiB (workspace 14.9 GiB + tensors 1.49 GiB), limit 3.73 GiB");
  EXPECT_EQ(plan[3].skipped, "");
  EXPECT_TRUE(plan[2].cost.has_value()) << "its cost is still told";
}

TEST(Plan, SmallMemoryIsToldInSmallUnits) {
  const TemporaryFolder folder;
  const auto plan = plan_of(folder,
                            "inputs: [gaussian: {}]\nvariants: [tiny]\n"
                            "problem: {lengths: 1, num_heads: 1, head_dim: 4}\n"
                            "limits: {memory: 1KiB}\n");
  EXPECT_EQ(plan.at(0).tensors_bytes, 4 * 4 * sizeof(float)) << "queries, keys, values, output";
  EXPECT_EQ(plan.at(0).skipped,
            "needs 1.06 KiB (workspace 1.00 KiB + tensors 64 B), limit 1.00 KiB");
}

// 16 FLOP, 8 bytes per second and thread, 2 s to start a process, on which all below is counted.
Calibration slow_machine() {
  return {.ceilings = {{1, 16, 8}, {2, 32, 8}},
          .judged_per_s = 100,
          .drawn_per_s = 10,
          .start_s = 2,
          .took_s = 0};
}

TEST(Forecast, AddsUpWhatEveryMeasurementTakes) {
  const TemporaryFolder folder;
  const Experiment e = read_text(
      folder,
      "longattn: 1\nname: t\nthreads: [1, 2]\ninputs: [gaussian: {}]\nvariants: [tiny, plain]\n"
      "problem: {lengths: [64], num_heads: 2, head_dim: 3, causal: true}\n"
      "measure: {rounds: 3, min_time: 5s, error_rows: 4}\nlimits: {time: 100s}\n");
  const auto plan = make_plan(e);
  const Forecast f = forecast(e, plan, slow_machine());
  ASSERT_EQ(f.cells.size(), 4u);
  // tiny: 128 FLOP against 256 bytes on one thread, 512 on two.
  EXPECT_DOUBLE_EQ(f.cells[0]->pass, 256.0 / 8);
  EXPECT_DOUBLE_EQ(f.cells[1]->pass, 512.0 / 8);
  EXPECT_DOUBLE_EQ(f.cells[0]->memory, 2 + 32);
  EXPECT_DOUBLE_EQ(f.cells[0]->time, 3 * (2 + 32 + 32));
  EXPECT_DOUBLE_EQ(f.cells[0]->error, 2 + 32 + 3 * 4 * 64 * 6 / 100.0);
  EXPECT_FALSE(f.cells[0]->over_limit);
  EXPECT_TRUE(f.cells[1]->over_limit) << "2 + 64 + 64 s";
  EXPECT_DOUBLE_EQ(f.cells[1]->time, 3 * 100);
  EXPECT_FALSE(f.cells[2].has_value()) << "plain takes no causal problem";
  EXPECT_DOUBLE_EQ(f.inputs_s, 2 * 64 * 9 / 10.0) << "made once";
  EXPECT_DOUBLE_EQ(f.total_s, f.inputs_s + f.cells[0]->total() + f.cells[1]->total());
}

TEST(Forecast, WorkInDoublePrecisionGoesAtTheSpeedOfDefinitions) {
  const TemporaryFolder folder;
  const Experiment e =
      read_text(folder,
                "longattn: 1\nname: t\nthreads: [2]\ninputs: [gaussian: {}]\nvariants: [tiny]\n"
                "problem: {lengths: [64], num_heads: 2, head_dim: 3}\n");
  auto plan = make_plan(e);
  plan.at(0).cost = Cost{.flops = 6400, .double_flops = 3200};
  const Forecast f = forecast(e, plan, slow_machine());
  // 32 float32 FLOP/s, and 100 multiply-adds in double on each of two threads.
  EXPECT_DOUBLE_EQ(f.cells.at(0)->pass, 3200 / 32. + 3200 / (2 * 100. * 2));
}

// Their scores are double products, of all pairs; the decomposition is double altogether.
TEST(Forecast, OfOraclesIsThatOfWorkInDoublePrecision) {
  const TemporaryFolder folder;
  const Experiment e =
      read_experiment(folder.file("a.yaml",
                                  "longattn: 1\nname: t\nthreads: [1]\ninputs: [gaussian: {}]\n"
                                  "variants: [topk_oracle: {k: 4}, low_rank_oracle: {k: 4}, full]\n"
                                  "problem: {lengths: [64], num_heads: 2, head_dim: 8}\n"),
                      builtin_variants());
  const auto plan = make_plan(e);
  EXPECT_EQ(plan.at(0).cost->double_flops, 2 * 64 * 64 * 2 * 8);
  EXPECT_LT(plan[0].cost->double_flops, plan[0].cost->flops);
  EXPECT_EQ(plan.at(1).cost->double_flops, plan[1].cost->flops);
  EXPECT_EQ(plan.at(2).cost->double_flops, 0);
}

TEST(Forecast, WhatIsNotMeasuredTakesNoTime) {
  const TemporaryFolder folder;
  const Experiment e = read_text(
      folder,
      "longattn: 1\nname: t\nthreads: 1\ninputs: [gaussian: {}]\nvariants: [tiny, greedy]\n"
      "problem: {lengths: [4], num_heads: 1}\nlimits: {memory: 4GB}\n"
      "measure: {rounds: 2, min_time: 5s, error: false, memory: false}\n");
  const Forecast f = forecast(e, make_plan(e), slow_machine());
  EXPECT_EQ(f.cells.at(0)->error, 0);
  EXPECT_EQ(f.cells.at(0)->memory, 0);
  // A pass takes 2 s; as one is too short for 5 s, four are tried, 7 s being aimed at.
  EXPECT_DOUBLE_EQ(f.cells.at(0)->pass, 2);
  EXPECT_DOUBLE_EQ(f.cells.at(0)->total(), 2 * (2 + 2 + (2 + 8)));
  EXPECT_FALSE(f.cells.at(1).has_value()) << "skipped";
}

}  // namespace
}  // namespace longattn
