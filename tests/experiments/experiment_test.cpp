#include "experiments/config/experiment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <locale>

#include "core/error.h"
#include "core/io/text.h"
#include "experiments/plan.h"
#include "tests/core/reader_testing.h"
#include "tests/experiments/config_testing.h"

namespace longattn {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string config(std::string_view rest, std::string_view variants = "[plain]") {
  return "longattn: 1\nname: t\nvariants: " + std::string(variants) + "\n" + std::string(rest);
}
constexpr std::string_view kGaussian =
    "inputs: [gaussian: {temperature: 1}]\nproblem: {lengths: [16, 32]}\n";
std::string with_gaussian(std::string_view rest, std::string_view variants = "[plain]") {
  return config(std::string(kGaussian) + std::string(rest), variants);
}
std::string with_problem(std::string_view problem) {
  return config("inputs: [gaussian: {}]\nproblem: {lengths: 16, " + std::string(problem) + "}\n");
}
std::string with_variants(std::string_view variants) { return with_gaussian("", variants); }

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
measure: {rounds: 3, min_time: 1.5ms, error_rows: 12, time: false, memory: false, error: false,
          patterns: false}
limits: {time: 2m, memory: 1.5GiB, max_cells: 5}
)");
  EXPECT_EQ(e.name, "all.of-it_1");
  EXPECT_EQ(e.description, "with: quotes");
  EXPECT_THAT(e.threads, ElementsAre(1, 2));
  EXPECT_EQ(e.seed, 7u);
  ASSERT_EQ(e.problems.size(), 1u);
  EXPECT_EQ(e.problems[0].input.label, "noise");
  EXPECT_EQ(e.problems[0].input.temperature, 1.5);
  EXPECT_EQ(e.problems[0].input.seed, 3u);
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

struct Mistake {
  const char* name;
  std::string text;
  std::string message;
};
void PrintTo(const Mistake& m, std::ostream* out) { *out << m.name; }

class ExperimentRefuses : public ::testing::TestWithParam<Mistake> {};

TEST_P(ExperimentRefuses, AndSaysWhyOnce) {
  const TemporaryFolder folder;
  write_tiny_trace(folder / "t.safetensors");
  const std::string message = complaint(folder, GetParam().text);
  EXPECT_THAT(message, AllOf(HasSubstr(GetParam().message), HasSubstr("\n1 error in test.yaml")));
}

Mistake measure(const char* name, std::string_view value, std::string message) {
  return {name, with_gaussian("measure: {" + std::string(value) + "}\n"), std::move(message)};
}

INSTANTIATE_TEST_SUITE_P(
    Scalars, ExperimentRefuses,
    ::testing::Values(
        measure("Octal", "rounds: 010", "rounds is '010', expected an integer in 1..1000"),
        measure("Hexadecimal", "rounds: 0x10", "rounds is '0x10', expected an integer"),
        measure("Exponent", "rounds: 1e3", "rounds is '1e3'"),
        measure("Underscore", "rounds: 1_000", "rounds is '1_000'"),
        measure("Suffix", "rounds: 4k", "rounds is '4k'"),
        measure("Fraction", "rounds: 4.0", "rounds is '4.0'"),
        measure("MinusZero", "rounds: -0", "rounds is '-0'"),
        measure("Zero", "rounds: 0", "rounds is '0'"),
        measure("Huge", "error_rows: 9223372036854775808", "expected an integer in 1..1000000"),
        measure("QuotedInteger", "rounds: '5'", "rounds is the quoted text \"5\""),
        measure("Nothing", "rounds: ", "rounds is nothing"),
        measure("ListForInteger", "rounds: [5]", "rounds is a list"),
        measure("Yes", "time: yes", "time is 'yes', expected true or false"),
        measure("BareDuration", "min_time: 20", "expected a duration such as 20ms, 60s or 2m"),
        measure("SpacedDuration", "min_time: 20 s", "'20 s'"),
        measure("ZeroDuration", "min_time: 0ms", "min_time is '0ms'"),
        measure("NegativeDuration", "min_time: -1s", "min_time is '-1s'"),
        measure("EndlessDuration", "min_time: infs", "min_time is 'infs'"),
        measure("UnknownKey", "round: 5", "^^^^^ did you mean 'rounds'?"),
        Mistake{"BareSize", with_gaussian("limits: {memory: 8}"), "expected a size such as 512MiB"},
        Mistake{"SizeUnit", with_gaussian("limits: {memory: 8G}"), "memory is '8G'"},
        Mistake{"NotANumber", with_problem("scale: .nan"), "scale is '.nan', expected a number"},
        Mistake{"Overflow", with_problem("scale: 1e400"), "scale is '1e400'"},
        Mistake{"Comma", with_problem("scale: '1,5'"), "scale is the quoted text"},
        Mistake{"Escapes", with_problem("dtype: \"\\e[31m\""),
                "dtype is the quoted text \"\\x1b[31m\""}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Whole, ExperimentRefuses,
    ::testing::Values(
        Mistake{"EmptyFile", "", "a config is nothing, expected a map"},
        Mistake{"ListRoot", "[1, 2]", "a config is a list"},
        Mistake{"NextVersion", "longattn: 2\nname: t\nvariants: [plain]\n" + std::string(kGaussian),
                "longattn (the version of the config format) is '2'"},
        Mistake{"NoName", "longattn: 1\nvariants: [plain]\n" + std::string(kGaussian),
                "'name' is missing"},
        Mistake{"NameWithSlash",
                "longattn: 1\nname: ../x\nvariants: [plain]\n" + std::string(kGaussian),
                "name is '../x'"},
        Mistake{"ThreadsTwice", with_gaussian("threads: [2, 1, 2]"),
                "threads 2 stands in the list twice"},
        Mistake{"NoThreads", with_gaussian("threads: []"), "at least one integer"},
        Mistake{"UnknownSection", with_gaussian("limit: {}"), "did you mean 'limits'?"},
        Mistake{"DuplicateKey", with_gaussian("seed: 1\nseed: 2\n"), "duplicate key 'seed'"},
        Mistake{"TooManyCells", with_gaussian("limits: {max_cells: 3}\nthreads: [1, 2]"),
                "4 cells"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Inputs, ExperimentRefuses,
    ::testing::Values(
        Mistake{"NoInputs", config("inputs: []"),
                "inputs is a list, expected a list with at least"},
        Mistake{"Neither", config("inputs: [{label: x}]"), "either a trace or gaussian"},
        Mistake{"Both", config("inputs: [{trace: t.safetensors, gaussian: {}}]"), "either a trace"},
        Mistake{"GaussianLayer",
                config("inputs: [{gaussian: {}, layer: 1}]\nproblem: {lengths: 8}"),
                "layer belongs to a trace"},
        Mistake{"NoLengths", config("inputs: [gaussian: {}]"), "needs problem.lengths"},
        Mistake{"AbsentTrace", config("inputs: [trace: absent.safetensors]"), "looked for beside"},
        Mistake{"SameInputTwice",
                config("inputs:\n- gaussian: {}\n- {label: b, gaussian: {seed: 1}}\n"
                       "problem: {lengths: 8}"),
                "the same input stands in the list twice"},
        Mistake{"SameLabelTwice",
                config("inputs:\n- {label: a, gaussian: {}}\n- {label: a, gaussian: {seed: 2}}\n"
                       "problem: {lengths: 8}"),
                "two inputs are labelled 'a'"},
        Mistake{"EscapeInLabel",
                config("inputs: [{label: \"\\e[1m\", gaussian: {}}]\nproblem: {lengths: 8}"),
                "label is '\\x1b[1m'"},
        Mistake{"LongerThanTheTrace",
                config("inputs: [trace: t.safetensors]\nproblem: {lengths: 33}"),
                "length 33, but the trace 't layer 0' has 32 tokens"},
        Mistake{"OtherHeadsThanTheTrace",
                config("inputs: [trace: t.safetensors]\nproblem: {num_heads: 8}"),
                "num_heads is 8, but the trace 't layer 0' has 4"},
        Mistake{"OtherTypeThanTheTrace",
                config("inputs: [trace: t.safetensors]\nproblem: {dtype: float16}"),
                "dtype is float16, but the trace 't layer 0' has float32"},
        Mistake{"UnreadKeysOfATrace",
                config("inputs: [trace: t.safetensors]\nproblem: {head_dim: many}"),
                "head_dim is 'many'"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Problems, ExperimentRefuses,
    ::testing::Values(
        Mistake{"LengthZero", config("inputs: [gaussian: {}]\nproblem: {lengths: [16, 0]}"),
                "length is '0'"},
        Mistake{"LengthTwice", config("inputs: [gaussian: {}]\nproblem: {lengths: [16, 16]}"),
                "length 16 stands in the list twice"},
        Mistake{"HeadsDoNotDivide", with_problem("num_heads: 6, num_kv_heads: 4"),
                "num_heads 6 is not a multiple of num_kv_heads 4"},
        Mistake{"TooLongToAddress",
                config("inputs: [gaussian: {}]\nproblem: {lengths: [16, 1000000000000], "
                       "head_dim: 1000000, num_heads: 1000}"),
                "the tensor has more than 2^63 bytes"},
        // One mistake, however many inputs and lengths meet it.
        Mistake{"OneMistakeOnce",
                config("inputs:\n- gaussian: {seed: 1}\n- gaussian: {seed: 2}\n"
                       "problem: {lengths: [1, 2, 3], causal: 1}"),
                "causal is '1'"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Variants, ExperimentRefuses,
    ::testing::Values(
        Mistake{"Unknown", with_variants("[tinny]"), "^^^^^ did you mean 'tiny'?"},
        Mistake{"None", with_variants("[]"), "at least one variant"},
        Mistake{"TwoNames", with_variants("[{tiny: , plain: }]"), "a variant is a map"},
        Mistake{"UnknownOption", with_variants("[tiny: {widnow: 4}]"), "did you mean 'window'?"},
        Mistake{"WhatItTakes", with_variants("[tiny: {x: 4}]"),
                "tiny takes: window, ratio, pattern"},
        Mistake{"OptionRange", with_variants("[tiny: {window: 1001}]"),
                "option 'window' is '1001', expected an integer in 0..1000"},
        Mistake{"OptionDoc", with_variants("[tiny: {window: -1}]"), "window: keys on each side"},
        Mistake{"OptionType", with_variants("[tiny: {tied: 1}]"), "expected true or false"},
        Mistake{"Choice", with_variants("[tiny: {pattern: round}]"), "one of strided, fixed"},
        Mistake{"QuotedOption", with_variants("[tiny: {window: '4'}]"), "without the quotes"},
        Mistake{"ListWithoutSweep", with_variants("[tiny: {window: [1, 2]}]"),
                "write sweep: {window: [1, 2]}"},
        Mistake{"MapAsOption", with_variants("[tiny: {window: {a: 1}}]"), "'window' is a map"},
        Mistake{"SweepOfOne", with_variants("[tiny: {sweep: {window: 4}}]"),
                "expected a list of values"},
        Mistake{"EmptySweep", with_variants("[tiny: {sweep: {window: []}}]"),
                "expected a list of values"},
        Mistake{"SweepUnknown", with_variants("[tiny: {sweep: {windows: [4]}}]"),
                "did you mean 'window'?"},
        Mistake{"SweepAndAlone", with_variants("[tiny: {window: 1, sweep: {window: [4]}}]"),
                "given twice, alone and in sweep"},
        Mistake{"SweepValueTwice", with_variants("[tiny: {sweep: {window: [4, 5, 4]}}]"),
                "tiny window=4"},
        Mistake{"Twice", with_variants("[tiny, tiny: {window: 8}]"), "stands in the list twice"}),
    [](const auto& test) { return test.param.name; });

TEST(Experiment, FiveDifferentMistakesAreToldTogether) {
  const TemporaryFolder folder;
  EXPECT_EQ(complaint(folder, R"(longattn: 1
name: five
inputs:
  - gaussian: {temprature: 1}
problem:
  lengths: [16, 010]
variants:
  - tinny
  - tiny: {window: 4000}
measure: {time: yes}
)"),
            R"(error: unknown key 'temprature'
  --> test.yaml:4:16
   |
 4 |   - gaussian: {temprature: 1}
   |                ^^^^^^^^^^ did you mean 'temperature'?
   = gaussian takes: temperature, seed

error: length is '010', expected an integer in 1..1099511627776
  --> test.yaml:6:17
   |
 6 |   lengths: [16, 010]
   |                 ^^^

error: unknown variant 'tinny'
  --> test.yaml:8:5
   |
 8 |   - tinny
   |     ^^^^^ did you mean 'tiny'?
   = variants: tiny, plain, greedy

error: option 'window' is '4000', expected an integer in 0..1000
  --> test.yaml:9:20
   |
 9 |   - tiny: {window: 4000}
   |                    ^^^^
   = window: keys on each side

error: time is 'yes', expected true or false
   --> test.yaml:10:17
    |
 10 | measure: {time: yes}
    |                 ^^^

5 errors in test.yaml; nothing was run)");
}

TEST(Experiment, AMistakeInTheProblemPointsAtItsKey) {
  const TemporaryFolder folder;
  EXPECT_THAT(complaint(folder, with_problem("num_heads: 6, num_kv_heads: 4")),
              HasSubstr("test.yaml:5:52"));
}

TEST(Experiment, ASweepIsCountedBeforeItIsMade) {
  const TemporaryFolder folder;
  std::string list = "[0";
  for (int i = 1; i <= 1000; ++i) list += ", " + std::to_string(i);
  list += "]";
  std::string ratios = "[0";
  for (int i = 1; i < 1000; ++i) ratios += ", 0." + std::to_string(1000 + i).substr(1);
  const std::string message =
      complaint(folder, with_variants("[tiny: {sweep: {window: " + list + ", tokens: " + list +
                                      ", ratio: " + ratios + "], stride: [auto]}}]"));
  EXPECT_THAT(message, AllOf(HasSubstr("1.002e+09 settings"), HasSubstr("max_cells is 10000")));
}

TEST(Experiment, ABrokenTraceIsADataErrorNotAConfigError) {
  const TemporaryFolder folder;
  folder.file("t.safetensors", "not a trace at all");
  EXPECT_THROW(read_text(folder, config("inputs: [trace: t.safetensors]")), DataError);
  EXPECT_THROW(read_text(folder, config("inputs: [trace: t.safetensors]\nseed: x")), ConfigError);
  write_tiny_trace(folder / "u.safetensors");
  EXPECT_THROW(read_text(folder, config("inputs: [{trace: u.safetensors, layer: 9}]")), DataError);
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
  Mutations mutations;
  mutations.seeds = {
      "longattn: 1\nname: \"q\\x41\"\ninputs:\n  - gaussian: {temperature: 1.5, seed: 1}\n"
      "problem:\n  lengths: [16, 32]  # tokens\n  causal: true\nvariants:\n  - tiny:\n"
      "      sweep: {window: [1, 2]}\n      pattern: 'fixed'\n  - plain\n"
      "measure: {min_time: 20ms}\nlimits: {memory: 1GiB}\ndescription: |\n  block\n  text\n",
      "longattn: 1\nname: t\nthreads: [1, 2]\ninputs: [{trace: t.safetensors, layer: 1}]\n"
      "problem: {lengths: 16, scale: 0.5}\nvariants: [plain, {tiny: {tokens: [0], stride: 4}}]\n"
      "measure: {rounds: 3, error_rows: 12, patterns: false}\nlimits: {time: 2m, max_cells: 5}\n"};
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
                      "/dev/zero", "t.safetensors"};
  mutations.path = folder / "mutant.yaml";
  mutations.rounds = 6'000;
  mutations.bounded = false;  // a tree is larger than its text
  mutations.check = [&](const Error& error) {
    const std::string_view message = error.what();
    EXPECT_THAT(message, HasSubstr(mutations.path));
    for (std::string_view rest = message; !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      EXPECT_EQ(printable(line), line);
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    }
  };
  const MutationCounts counts = read_mutations(mutations, [](const std::string& path) {
    make_plan(read_experiment(path, tiny_variants()));
  });
  EXPECT_GT(counts.read, 0);
  EXPECT_GT(counts.refused, 0);
}

}  // namespace
}  // namespace longattn
