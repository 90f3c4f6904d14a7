#include "experiments/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/experiments/config_testing.h"

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
  EXPECT_EQ(plan[2].skipped, "needs 17.6 GB (workspace 16 GB + tensors 1.6 GB), limit 4 GB");
  EXPECT_EQ(plan[3].skipped, "");
  EXPECT_TRUE(plan[2].cost.has_value()) << "its cost is still told";
}

}  // namespace
}  // namespace longattn
