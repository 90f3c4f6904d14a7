#include "experiments/config/experiment.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <locale>

#include "core/error.h"
#include "core/io/npy.h"
#include "core/io/text.h"
#include "experiments/plan.h"
#include "tests/core/reader_testing.h"
#include "tests/experiments/config_testing.h"
#include "tests/fuzz/readers.h"

namespace longattn {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(Experiment, WhatIsLeftOutHasItsDefault) {
  const TemporaryFolder folder;
  const Experiment e = read_text(folder, with_gaussian(""));
  EXPECT_EQ(e.name, "t");
  ASSERT_EQ(e.problems.size(), 2u);
  const Problem& p = e.problems[1].problem;
  EXPECT_EQ(p.query_len, 32);
  EXPECT_EQ(p.key_len, 32);
  EXPECT_EQ(p.num_heads, 8);
  EXPECT_EQ(p.num_kv_heads, 8);
  EXPECT_EQ(p.head_dim, 64);
  EXPECT_EQ(p.value_dim, 64);
  EXPECT_EQ(p.dtype, DType::float32);
  EXPECT_FALSE(p.mask.causal);
  EXPECT_FALSE(p.scale.has_value());
  EXPECT_EQ(e.measure.error_rows, 256);
  EXPECT_TRUE(e.measure.time && e.measure.memory && e.measure.error && e.measure.patterns);
  EXPECT_EQ(e.seed, 1u);
  ASSERT_EQ(e.threads.size(), 1u);
  EXPECT_GE(e.threads[0], 1);
}

TEST(Experiment, EveryKeyIsRead) {
  const TemporaryFolder folder;
  const Experiment e = read_text(folder, R"(longattn: 1
name: all.of-it_1
description: "with: quotes"
threads: [1, 2]
seed: 7
inputs:
  - label: noise
    gaussian: {temperature: 1.5, seed: 3}
problem: {lengths: 16, batch: 2, num_heads: 4, num_kv_heads: 2, head_dim: 8, dtype: bfloat16,
          causal: true, scale: 0.125}
variants: [tiny: {window: 3, ratio: 0.25, pattern: fixed, tokens: [0, 5], tied: false, stride: 4}]
measure: {rounds: 3, min_time: 1.5ms, error_rows: 12, seeds: 3, time: false, memory: false, error: false,
          patterns: false}
limits: {time: 2m, memory: 1.5GiB, max_cells: 5}
)");
  EXPECT_EQ(e.name, "all.of-it_1");
  EXPECT_EQ(e.description, "with: quotes");
  EXPECT_THAT(e.threads, ElementsAre(1, 2));
  EXPECT_EQ(e.seed, 7u);
  ASSERT_EQ(e.problems.size(), 1u);
  EXPECT_EQ(e.problems[0].input.label, "noise");
  EXPECT_EQ(e.problems[0].input.generator, "gaussian");
  EXPECT_THAT(e.problems[0].input.options,
              ElementsAre(Pair("temperature", "1.5"), Pair("seed", "3")));
  const Problem& p = e.problems[0].problem;
  EXPECT_EQ(p.batch, 2);
  EXPECT_EQ(p.num_heads, 4);
  EXPECT_EQ(p.num_kv_heads, 2);
  EXPECT_EQ(p.head_dim, 8);
  EXPECT_EQ(p.value_dim, 8) << "as head_dim";
  EXPECT_EQ(p.dtype, DType::bfloat16);
  EXPECT_TRUE(p.mask.causal);
  EXPECT_EQ(p.scale, 0.125);
  const Options& o = e.variants.at(0).options;
  EXPECT_EQ(o.integer("window"), 3);
  EXPECT_EQ(o.number("ratio"), 0.25);
  EXPECT_EQ(o.text("pattern"), "fixed");
  EXPECT_THAT(o.integers("tokens"), ElementsAre(0, 5));
  EXPECT_FALSE(o.boolean("tied"));
  EXPECT_EQ(o.integer("stride"), 4);
  EXPECT_EQ(e.measure.rounds, 3);
  EXPECT_DOUBLE_EQ(e.measure.min_time_s, 0.0015);
  EXPECT_EQ(e.measure.error_rows, 12);
  EXPECT_EQ(e.measure.seeds, 3);
  EXPECT_FALSE(e.measure.time || e.measure.memory || e.measure.error || e.measure.patterns);
  EXPECT_EQ(e.limits.time_s, 120);
  EXPECT_EQ(e.limits.memory_bytes, 1.5 * 0x1p30);
}

TEST(Experiment, ASweepIsTheProductOfItsLists) {
  const TemporaryFolder folder;
  const Experiment e = read_text(
      folder,
      with_variants("[plain, tiny: {ratio: 1, sweep: {window: [1, 2], stride: [auto, 5, 6]}}]"));
  ASSERT_EQ(e.variants.size(), 7u);
  std::vector<std::string> settings;
  for (size_t i = 1; i < e.variants.size(); ++i) {
    const Options& o = e.variants[i].options;
    EXPECT_EQ(o.number("ratio"), 1);
    settings.push_back(to_text(o.value("window")) + "/" + to_text(o.value("stride")));
  }
  EXPECT_THAT(settings, ElementsAre("1/auto", "1/5", "1/6", "2/auto", "2/5", "2/6"));
}

TEST(Experiment, AListOptionIsSweptOverLists) {
  const TemporaryFolder folder;
  const Experiment e =
      read_text(folder, with_variants("[tiny: {sweep: {tokens: [0, [0, 1], []]}}]"));
  ASSERT_EQ(e.variants.size(), 3u);
  EXPECT_THAT(e.variants[0].options.integers("tokens"), ElementsAre(0));
  EXPECT_THAT(e.variants[1].options.integers("tokens"), ElementsAre(0, 1));
  EXPECT_THAT(e.variants[2].options.integers("tokens"), ElementsAre());
}

TEST(Experiment, ATraceBringsItsShapesScaleAndCausality) {
  const TemporaryFolder folder;
  write_tiny_trace(folder / "t.safetensors");
  const Experiment e = read_text(folder, config("inputs: [{trace: t.safetensors, layer: 1}]"));
  ASSERT_EQ(e.problems.size(), 1u);
  EXPECT_EQ(e.problems[0].input.path, folder / "t.safetensors") << "beside the config";
  EXPECT_EQ(e.problems[0].input.label, "t layer 1");
  const Problem& p = e.problems[0].problem;
  EXPECT_EQ(p.num_heads, 4);
  EXPECT_EQ(p.num_kv_heads, 2);
  EXPECT_EQ(p.head_dim, 8);
  EXPECT_EQ(p.key_len, 32) << "all of it";
  EXPECT_EQ(p.scale, 0.25);
  EXPECT_TRUE(p.mask.causal);
}

TEST(Experiment, ATraceIsCutToTheLengthsAndItsMetadataOverridden) {
  const TemporaryFolder folder;
  write_tiny_trace(folder / "t.safetensors");
  const Experiment e = read_text(
      folder, config("inputs: [trace: t.safetensors]\n"
                     "problem: {lengths: [8, 32], causal: false, scale: 1, num_heads: 4}"));
  ASSERT_EQ(e.problems.size(), 2u);
  EXPECT_EQ(e.problems[0].problem.query_len, 8);
  EXPECT_EQ(e.problems[0].problem.key_len, 8);
  EXPECT_EQ(e.problems[0].problem.scale, 1.0);
  EXPECT_FALSE(e.problems[0].problem.mask.causal);
}

TEST(Experiment, ATraceWithFewerQueriesThanKeysIsTakenWhole) {
  const TemporaryFolder folder;
  write_tiny_trace(folder / "t.safetensors", 8, 32);
  const Experiment e = read_text(folder, config("inputs: [trace: t.safetensors]"));
  EXPECT_EQ(e.problems.at(0).problem.query_len, 8);
  EXPECT_EQ(e.problems.at(0).problem.key_len, 32);
  EXPECT_THAT(complaint(folder, config("inputs: [trace: t.safetensors]\nproblem: {lengths: 8}")),
              HasSubstr("has 8 queries and 32 keys"));
}

TEST(Experiment, ABrokenTraceIsADataErrorNotAConfigError) {
  const TemporaryFolder folder;
  folder.file("t.safetensors", "not a trace at all");
  EXPECT_THROW(read_text(folder, config("inputs: [trace: t.safetensors]")), DataError);
  EXPECT_THROW(read_text(folder, config("inputs: [trace: t.safetensors]\nseed: x")), ConfigError);
  write_tiny_trace(folder / "u.safetensors");
  EXPECT_THROW(read_text(folder, config("inputs: [{trace: u.safetensors, layer: 9}]")), DataError);
}

TEST(Experiment, FilesOfOptionsAreLookedForBesideTheConfig) {
  const TemporaryFolder folder;
  const std::vector<float> numbers = {1, 2};
  write_npy(folder / "two.npy", std::vector<Index>{2}, numbers);
  const Experiment experiment =
      read_text(folder, with_gaussian("",
                                      "[greedy: {layout: two.npy, span: ./two.npy}, "
                                      "greedy: {layout: odd}]"));
  EXPECT_EQ(experiment.variants.at(0).options.text("layout"), folder / "two.npy");
  EXPECT_EQ(experiment.variants.at(0).options.text("span"), folder / "two.npy");
  EXPECT_EQ(experiment.variants.at(1).options.text("layout"), "odd") << "a name, not a file";
}

TEST(Experiment, ABrokenFileOfAnOptionIsADataErrorWithItsPlace) {
  const TemporaryFolder folder;
  folder.file("torn.npy", "\x93NUMPY");
  for (const char* option : {"layout", "span"}) {
    try {
      read_text(folder, with_variants(fmt::format("[greedy: {{{}: torn.npy}}]", option)));
      ADD_FAILURE() << "accepted";
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("torn.npy: "), HasSubstr("test.yaml:")));
    }
  }
}

TEST(Experiment, AnUnreadableConfigIsAnIoError) {
  const auto variants = tiny_variants();
  EXPECT_THROW(read_experiment("/absent/a.yaml", variants), IoError);
  EXPECT_THROW(read_experiment("/", variants), IoError);
}

// As German has it: 1,5 and 1.000.
class CommaDecimals : public std::numpunct<char> {
 protected:
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST(Experiment, NumbersDoNotDependOnTheLocale) {
  const TemporaryFolder folder;
  const std::string text =
      with_gaussian("measure: {min_time: 1.5ms}", "[tiny: {ratio: 0.25, window: 1000}]");
  const std::string wrong = with_gaussian("measure: {rounds: 1001}", "[tiny: {ratio: 1.5}]");
  const std::string before = complaint(folder, wrong);
  const std::locale old = std::locale::global(std::locale(std::locale(), new CommaDecimals));
  const Experiment e = read_text(folder, text);
  const std::string after = complaint(folder, wrong);
  std::locale::global(old);
  EXPECT_DOUBLE_EQ(e.measure.min_time_s, 0.0015);
  EXPECT_EQ(e.variants.at(0).options.number("ratio"), 0.25);
  EXPECT_EQ(after, before);
}

// Whatever comes, the answer is an experiment with its plan or the mistakes, told by place.
TEST(Experiment, MutatedConfigsArePlannedOrRefusedAndNothingElse) {
  const TemporaryFolder folder;
  write_tiny_trace(folder / "t.safetensors");
  folder.file("base.yaml", "seed: 3\n");
  Mutations mutations;
  mutations.seeds = {
      "longattn: 1\nname: \"q\\x41\"\ninputs:\n  - gaussian: {temperature: 1.5, seed: 1}\n"
      "problem:\n  lengths: [16, 32]  # tokens\n  causal: true\nvariants:\n  - tiny:\n"
      "      sweep: {window: [1, 2]}\n      pattern: 'fixed'\n  - plain\n"
      "measure: {min_time: 20ms}\nlimits: {memory: 1GiB}\ndescription: |\n  block\n  text\n",
      "longattn: 1\nname: t\nthreads: [1, 2]\ninputs: [{trace: t.safetensors, layer: 1}]\n"
      "problem: {lengths: 16, scale: 0.5}\nvariants: [plain, {tiny: {tokens: [0], stride: 4}}]\n"
      "measure: {rounds: 3, error_rows: 12, patterns: false}\nlimits: {time: 2m, max_cells: 5}\n",
      "extends: base.yaml\nlongattn: 1\nname: t\ninputs: [gaussian: {sweep: {seed: &s [1, 2]}}]\n"
      "problem: {zip: {lengths: [16, [8, 32]], batch: *s}, sweep: {causal: [true, false]}}\n"
      "variants: [plain, tiny: {zip: {window: [1, 2], stride: [auto, 3]}}]\nthreads: 1\n"
      "where: variant != 'tiny' or (window + 1) * 8 <= length and not length % batch == 1\n"};
  mutations.tokens = {"[",         "]",
                      "{",         "}",
                      ":",         ": ",
                      "- ",        "\n",
                      "\n  ",      "'",
                      "\"",        "&a ",
                      "*a",        "!t ",
                      "<<",        "? ",
                      "|",         ">-",
                      "---",       "...",
                      "\t",        "\xef\xbb\xbf",
                      "\r",        "\\x",
                      "#",         ",",
                      "%",         "@",
                      "`",         "~",
                      "\xc3",      "\xed\xa0\x80",
                      "0",         "-1",
                      "010",       "1e400",
                      "nan",       "9223372036854775807",
                      "sweep",     "a: a",
                      "zip",       "(",
                      " % 0",      " == ",
                      " or ",      "extends: base.yaml",
                      "/dev/zero", "t.safetensors"};
  mutations.path = folder / "mutant.yaml";
  mutations.rounds = 6'000;
  mutations.bounded = false;  // a tree is larger than its text
  mutations.check = [&](const Error& error) {
    EXPECT_EQ(objection_to_config_error(error, mutations.path), "");
  };
  const MutationCounts counts = read_mutations(
      mutations, [](const std::string& path) { take_config(path, tiny_variants()); });
  EXPECT_GT(counts.read, 0);
  EXPECT_GT(counts.refused, 0);
}

}  // namespace
}  // namespace longattn
