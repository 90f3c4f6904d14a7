// sweep, zip and where: which cells a config stands for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiments/plan.h"
#include "tests/experiments/config_testing.h"

namespace longattn {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// "tiny 1/auto": the variant, window and stride.
std::vector<std::string> variants_of(std::string_view variants) {
  const TemporaryFolder folder;
  std::vector<std::string> all;
  for (const VariantRequest& v : read_text(folder, with_variants(variants)).variants) {
    std::string text(v.variant->name);
    if (v.options.has("window")) {
      text += " " + to_text(v.options.value("window")) + "/" + to_text(v.options.value("stride"));
    }
    all.push_back(text);
  }
  return all;
}

TEST(Settings, ZipTakesTheFirstOfEachListThenTheSecond) {
  EXPECT_THAT(variants_of("[tiny: {zip: {window: [1, 2, 3], stride: [auto, 5, 5]}}]"),
              ElementsAre("tiny 1/auto", "tiny 2/5", "tiny 3/5"));
}

TEST(Settings, SweepAndZipMultiply) {
  EXPECT_THAT(
      variants_of("[tiny: {sweep: {ratio: [0, 1]}, zip: {window: [1, 2], stride: [3, 4]}}]"),
      ElementsAre("tiny 1/3", "tiny 2/4", "tiny 1/3", "tiny 2/4"));
}

// "4 heads over 2, 8 wide, float32, causal: 16 tokens".
std::vector<std::string> problems_of(std::string_view problem) {
  const TemporaryFolder folder;
  const std::string text =
      config("inputs: [gaussian: {}]\nproblem: {" + std::string(problem) + "}");
  std::vector<std::string> all;
  for (const ProblemRequest& request : read_text(folder, text).problems) {
    const Problem& p = request.problem;
    all.push_back(std::to_string(p.batch) + "x" + std::to_string(p.num_heads) + "/" +
                  std::to_string(p.num_kv_heads) + "x" + std::to_string(p.head_dim) + " " +
                  std::string(to_string(p.dtype)) + (p.mask.causal ? " causal " : " ") +
                  std::to_string(p.key_len));
  }
  return all;
}

TEST(Settings, AProblemIsSweptOverShapesTypeAndCausality) {
  EXPECT_THAT(problems_of("lengths: [16, 32], sweep: {head_dim: [8, 64], causal: [false, true]}"),
              ElementsAre("1x8/8x8 float32 16", "1x8/8x8 float32 32", "1x8/8x8 float32 causal 16",
                          "1x8/8x8 float32 causal 32", "1x8/8x64 float32 16", "1x8/8x64 float32 32",
                          "1x8/8x64 float32 causal 16", "1x8/8x64 float32 causal 32"));
  EXPECT_THAT(problems_of("lengths: 16, num_kv_heads: 2, sweep: {num_heads: [2, 4]}, "
                          "zip: {dtype: [float32, bfloat16]}"),
              ElementsAre("1x2/2x64 float32 16", "1x2/2x64 bfloat16 16", "1x4/2x64 float32 16",
                          "1x4/2x64 bfloat16 16"));
}

TEST(Settings, LengthsArePairedWithBatchesForAConstantNumberOfTokens) {
  EXPECT_THAT(problems_of("zip: {lengths: [16, 32, 64], batch: [4, 2, 1]}"),
              ElementsAre("4x8/8x64 float32 16", "2x8/8x64 float32 32", "1x8/8x64 float32 64"));
  EXPECT_THAT(problems_of("zip: {lengths: [[16, 32], 64], batch: [2, 1]}"),
              ElementsAre("2x8/8x64 float32 16", "2x8/8x64 float32 32", "1x8/8x64 float32 64"));
}

std::vector<std::string> labels_of(const TemporaryFolder& folder, std::string_view inputs) {
  std::vector<std::string> all;
  const std::string text =
      config("inputs: [" + std::string(inputs) + "]\nproblem: {lengths: 16}", "[tiny]");
  for (const ProblemRequest& request : read_text(folder, text).problems) {
    std::string told = request.input.label + ":";
    for (const auto& [name, value] : request.input.options) told += value + "/";
    all.push_back(told + std::to_string(request.input.layer));
  }
  return all;
}

TEST(Settings, InputsAreSweptAndToldApartByTheirLabels) {
  const TemporaryFolder folder;
  write_tiny_trace(folder / "t.safetensors");
  EXPECT_THAT(labels_of(folder, "gaussian: {sweep: {temperature: [1, 4], seed: [1, 2]}}"),
              ElementsAre("gaussian temperature 1:1/1/0", "gaussian temperature 1 seed 2:1/2/0",
                          "gaussian temperature 4:4/1/0", "gaussian temperature 4 seed 2:4/2/0"));
  EXPECT_THAT(labels_of(folder, "{label: noise, gaussian: {zip: {temperature: [1, 4]}}}"),
              ElementsAre("noise temperature 1:1/1/0", "noise temperature 4:4/1/0"));
  EXPECT_THAT(labels_of(folder, "{trace: t.safetensors, sweep: {layer: [0, 1]}}"),
              ElementsAre("t layer 0:0", "t layer 1:1"));
  EXPECT_THAT(labels_of(folder, "{trace: t.safetensors, zip: {layer: [1, 0], label: [b, a]}}"),
              ElementsAre("b:1", "a:0"));
}

// "tiny 8 @16": the variant, its window and the length, in plan order.
std::vector<std::string> kept(std::string_view where, std::string_view more = "") {
  const TemporaryFolder folder;
  const std::string text =
      with_gaussian("where: " + std::string(where) + "\nthreads: 1\n" + std::string(more),
                    "[plain, tiny: {sweep: {window: [4, 16]}}]");
  std::vector<std::string> cells;
  for (const PlannedCell& cell : make_plan(read_text(folder, text))) {
    cells.push_back(cell.cell.variant +
                    (cell.cell.options.empty() ? "" : " " + cell.cell.options[0].second) + " @" +
                    std::to_string(cell.cell.problem.key_len));
  }
  return cells;
}

TEST(Where, KeepsTheCellsForWhichItHolds) {
  EXPECT_THAT(kept("length > 16"), ElementsAre("plain @32", "tiny 4 @32", "tiny 16 @32"));
  EXPECT_THAT(kept("variant != 'tiny' or window * 2 < length"),
              ElementsAre("plain @16", "tiny 4 @16", "plain @32", "tiny 4 @32"));
  EXPECT_THAT(kept("\"variant == 'plain'\""), ElementsAre("plain @16", "plain @32"));
  EXPECT_THAT(kept("dtype == 'float32' and causal == false and num_heads % 8 == 0 and "
                   "threads == 1 and input == 'gaussian temperature 1' and temperature == 1 and "
                   "batch == 1 and scale == 0.125 and query_len == key_len and value_dim == "
                   "head_dim and num_kv_heads == 8 and length == 16 and window == 4"),
              ElementsAre("plain @16", "tiny 4 @16"));
}

TEST(Where, ACellStaysWhereAnOptionIsUnknown) {
  EXPECT_THAT(kept("window == 4"),
              ElementsAre("plain @16", "tiny 4 @16", "plain @32", "tiny 4 @32"));
  EXPECT_THAT(kept("window == 4 and length == 16"), ElementsAre("plain @16", "tiny 4 @16"));
  EXPECT_EQ(kept("stride < 1").size(), 6u) << "auto is no number";
  EXPECT_EQ(kept("layer == 1").size(), 6u) << "gaussian inputs have none";
}

struct Mistake {
  const char* name;
  std::string text, message;
};
void PrintTo(const Mistake& m, std::ostream* out) { *out << m.name; }
class SettingsRefuse : public ::testing::TestWithParam<Mistake> {};

TEST_P(SettingsRefuse, AndSayWhyOnce) {
  const TemporaryFolder folder;
  EXPECT_THAT(complaint(folder, GetParam().text),
              AllOf(HasSubstr(GetParam().message), HasSubstr("\n1 error in test.yaml")));
}

Mistake where(const char* name, std::string_view condition, std::string message) {
  return {name, with_gaussian("where: " + std::string(condition), "[tiny]"), std::move(message)};
}

std::string zip(std::string_view lists) {
  return with_variants("[tiny: {zip: {" + std::string(lists) + "}}]");
}

INSTANTIATE_TEST_SUITE_P(
    All, SettingsRefuse,
    ::testing::Values(
        Mistake{"ZipOfUnequalLists", zip("window: [1, 2, 3], stride: [1, 2]"),
                "'stride' in zip has 2 values, 'window' has 3"},
        Mistake{"ZipOfOneValue", zip("window: 4"),
                "'window' in zip is '4', expected a list of values"},
        Mistake{"ZipOfNothing", zip("window: []"), "expected a list of values"},
        Mistake{"ZipUnknownBesideOthers", zip("window: [1, 2], windw: [4]"), "did you mean"},
        Mistake{"ZipUnknown", zip("windw: [4]"), "did you mean 'window'?"},
        Mistake{"ZipIsAList", with_variants("[tiny: {zip: [1]}]"), "zip is a list, expected a map"},
        Mistake{"ZipAndSweep", with_variants("[tiny: {zip: {window: [1]}, sweep: {window: [4]}}]"),
                "'window' is given twice, in zip and in sweep"},
        Mistake{"ZipOutOfRange", zip("window: [1, 1001], stride: [1, 2]"),
                "option 'window' is '1001', expected an integer in 0..1000"},
        Mistake{"SweptTwiceTheSame", zip("window: [1, 1], stride: [2, 2]"),
                "stands in the list twice"},
        Mistake{"ProblemAloneAndSwept", with_problem("head_dim: 8, sweep: {head_dim: [8]}"),
                "'head_dim' is given twice, alone and in sweep"},
        Mistake{"ProblemValue",
                with_problem("sweep: {head_dim: [8, 0, 16], causal: [true, false]}"),
                "head_dim is '0', expected an integer in 1..1000000"},
        Mistake{"ProblemType", with_problem("sweep: {dtype: [float32, float31]}"),
                "dtype is 'float31', expected one of float32, bfloat16, float16"},
        Mistake{"ProblemTwiceTheSame", with_problem("sweep: {head_dim: [8, 8]}"),
                "the same problem twice: 16 tokens of 'gaussian'"},
        Mistake{"ProblemByAnotherNameTheSame",
                with_problem("zip: {scale: [0.125], head_dim: [64]}"
                             ", sweep: {causal: [true, true]}"),
                "the same problem twice"},
        Mistake{"LengthsInVain", config("inputs: [gaussian: {}]\nproblem: {sweep: {lengths: []}}"),
                "'lengths' in sweep is a list, expected a list of values"},
        Mistake{"SweptInputTwice",
                config("inputs: [gaussian: {sweep: {seed: [1, 1]}}]\nproblem: {lengths: 8}"),
                "the same input stands in the list twice"},
        Mistake{"SweepOfASection", with_gaussian("measure: {sweep: {rounds: [1, 2]}}"),
                "unknown key 'sweep'"},
        where("Grammar", "window <", "the condition ends here, expected a value"),
        where("Unknown", "length > 4 and windw > 4", "^^^^^ did you mean 'window'?"),
        where("WhatItKnows", "blocks > 4", "value_dim, dtype, causal, scale, window, ratio, "),
        where("Types", "window == 'x'", "'==' compares a number with text"),
        where("List", "tokens == 1", "'tokens' is a list of integers, which cannot be compared"),
        where("NothingLeft", "length > 32", "where leaves none of the 2 cells"),
        where("DivisionByZero", "length % (window - 8) == 0", "= for tiny at 16 tokens"),
        where("NotText", "[1]", "where is a list, expected text"),
        Mistake{"NobodyHasTheOption", with_gaussian("where: window > 4", "[plain]"),
                "no variant of this config has an option 'window'"},
        Mistake{"AVariantThatIsWrongMayHaveIt",
                with_gaussian("where: window > 4", "[plain, tiny: {window: x}]"),
                "option 'window' is 'x'"}),
    [](const auto& test) { return test.param.name; });

TEST(Where, AMistakeIsMarkedWithinTheCondition) {
  const TemporaryFolder folder;
  EXPECT_THAT(complaint(folder, with_gaussian("where: \"length > 4 and windw > 4\"", "[tiny]")),
              HasSubstr("error: unknown name 'windw'\n"
                        "  --> test.yaml:6:24\n"
                        "   |\n"
                        " 6 | where: \"length > 4 and windw > 4\"\n"
                        "   |                        ^^^^^ did you mean 'window'?\n"));
  // Where the file has the text otherwise than it reads, the text is told.
  EXPECT_THAT(
      complaint(folder, with_gaussian("where: >\n  length > 4\n  and windw > 4\n", "[tiny]")),
      AllOf(HasSubstr("test.yaml:6:8"), HasSubstr("= at 'windw' in 'length > 4 and windw > 4")));
}

TEST(Settings, ATrillionCombinationsAreCountedNotMade) {
  const TemporaryFolder folder;
  std::string list = "[1";
  for (int n = 2; n <= 1000; ++n) list += ", " + std::to_string(n);
  list += "]";
  const std::string sizes = "sweep: {batch: " + list + ", num_heads: " + list +
                            ", head_dim: " + list + ", value_dim: " + list + "}";
  EXPECT_THAT(complaint(folder, with_problem(sizes)),
              HasSubstr("problem has 1e+12 settings; limits.max_cells is 10000"));
  EXPECT_THAT(complaint(folder, config("inputs: [gaussian: {sweep: {seed: " + list +
                                       "}}]\nproblem: {lengths: " + list + "}")),
              HasSubstr("1e+06 combinations of inputs, shapes and lengths; limits.max_cells"));
}

}  // namespace
}  // namespace longattn
