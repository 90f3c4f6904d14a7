// What the config reader says of mistakes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiments/config/experiment.h"
#include "tests/experiments/config_testing.h"

namespace longattn {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

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

std::string with_name(std::string_view name) {
  return "longattn: 1\nvariants: [plain]\nname: " + std::string(name) + "\n" +
         std::string(kGaussianText);
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
        Mistake{"OnlyComments", "# longattn: 1\n\n", "a config is nothing, expected a map"},
        Mistake{"NullRoot", "~\n", "a config is nothing, expected a map"},
        Mistake{"TextRoot", "longattn\n", "a config is 'longattn', expected a map"},
        Mistake{"ListRoot", "[1, 2]", "a config is a list"},
        Mistake{"NextVersion",
                "longattn: 2\nname: t\nvariants: [plain]\n" + std::string(kGaussianText),
                "longattn (the version of the config format) is '2'"},
        Mistake{"NoName", "longattn: 1\nvariants: [plain]\n" + std::string(kGaussianText),
                "'name' is missing"},
        Mistake{"NameWithSlash",
                "longattn: 1\nname: ../x\nvariants: [plain]\n" + std::string(kGaussianText),
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
        Mistake{"Neither", config("inputs: [{label: x}]"), "either a trace or one generator"},
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

INSTANTIATE_TEST_SUITE_P(
    Names, ExperimentRefuses,
    ::testing::Values(
        Mistake{"UpAndAway", with_name("../../x"), "name is '../../x', expected at most 64"},
        Mistake{"Slash", with_name("a/b"), "name is 'a/b'"},
        Mistake{"Absolute", with_name("/tmp/x"), "name is '/tmp/x'"},
        Mistake{"Hidden", with_name(".x"), "name is '.x'"},
        Mistake{"Dots", with_name(".."), "name is '..'"},
        Mistake{"Emoji", with_name("\xf0\x9f\x98\x80"), "name is '\xf0\x9f\x98\x80'"},
        Mistake{"Blank", with_name("a b"), "name is 'a b'"},
        Mistake{"Long", with_name(std::string(300, 'x')), "expected at most 64"},
        Mistake{"TerminalTitle", with_name("\"\\e]0;x\\a\""), "name is '\\x1b]0;x\\x07'"}),
    [](const auto& test) { return test.param.name; });

// A misspelt key is found at every depth.
INSTANTIATE_TEST_SUITE_P(
    UnknownKeys, ExperimentRefuses,
    ::testing::Values(
        Mistake{"Top", with_gaussian("measur: {}"), "did you mean 'measure'?"},
        Mistake{"Input", config("inputs: [{gaussian: {}, lable: x}]\nproblem: {lengths: 8}"),
                "did you mean 'label'?"},
        Mistake{"Gaussian", config("inputs: [gaussian: {sed: 2}]\nproblem: {lengths: 8}"),
                "did you mean 'seed'?"},
        Mistake{"GaussianSweep",
                config("inputs: [gaussian: {sweep: {sed: [2]}}]\nproblem: {lengths: 8}"),
                "did you mean 'seed'?"},
        Mistake{"Problem", with_problem("casual: true"), "did you mean 'causal'?"},
        Mistake{"ProblemSweep", with_problem("sweep: {casual: [true]}"), "did you mean 'causal'?"},
        Mistake{"ProblemZip", with_problem("zip: {casual: [true]}"), "did you mean 'causal'?"},
        Mistake{"Measure", with_gaussian("measure: {mintime: 1s}"), "did you mean 'min_time'?"},
        Mistake{"Limits", with_gaussian("limits: {maxcells: 1}"), "did you mean 'max_cells'?"},
        Mistake{"Option", with_variants("[tiny: {patern: fixed}]"), "did you mean 'pattern'?"},
        Mistake{"OptionSweep", with_variants("[tiny: {sweep: {patern: [fixed]}}]"),
                "did you mean 'pattern'?"},
        Mistake{"Sweep", with_variants("[tiny: {sweeep: {pattern: [fixed]}}]"),
                "did you mean 'sweep'?"}),
    [](const auto& test) { return test.param.name; });

// Texts that YAML readers take for numbers, each in its own way.
struct Trap {
  const char* text;
  bool integer, number;  // whether it is one here
};
constexpr Trap kTraps[] = {
    {"1", true, true},
    {"0", true, true},
    {"010", false, false},
    {"00", false, false},
    {"0x10", false, false},
    {"0o10", false, false},
    {"0b1", false, false},
    {"1e0", false, true},
    {"1E-1", false, true},
    {"4k", false, false},
    {"1_0", false, false},
    {"1,0", false, false},
    {"+1", false, false},
    {"-0", true, true},
    {"1.", false, true},
    {"1.0", false, true},
    {".5", false, true},
    {"0.5", false, true},
    {"yes", false, false},
    {"true", false, false},
    {".nan", false, false},
    {"nan", false, false},
    {".inf", false, false},
    {"inf", false, false},
    {"1e400", false, false},
    {"1 0", false, false},
    {"9223372036854775808", false, false},
    {"-9223372036854775809", false, false},
    {"'1'", false, false},
    {"", false, false},
    {"~", false, false},
    {"''", false, false},
    {"1/2", false, false},
    {"1:30", false, false},
    {"2001-01-01", false, false},
};

TEST(Experiment, NumbersAreDecimalAndNothingElse) {
  const TemporaryFolder folder;
  const auto where = [](std::string text) {
    return std::vector<std::pair<const char*, std::string>>{
        {"integer", with_gaussian("seed: " + text)},
        {"integers", config("inputs: [gaussian: {}]\nproblem: {lengths: 16, sweep: {head_dim: [" +
                            (text == "0" || text == "-0" ? "1" : text) + "]}}")},
        {"integer", with_variants("[tiny: {window: " + text + "}]")},
        {"integer", with_variants("[tiny: {sweep: {window: [" + text + "]}}]")},
        {"number",
         config("inputs: [gaussian: {temperature: " + text + "}]\nproblem: {lengths: 16}")},
        {"number", with_problem("scale: " + text)},
        {"number", with_variants("[tiny: {ratio: " + text + "}]")},
        {"number", with_variants("[tiny: {zip: {ratio: [" + text + "]}}]")},
    };
  };
  for (const Trap& trap : kTraps) {
    if (std::string_view(trap.text) == "1,0") continue;  // two values of a list, below
    for (const auto& [kind, text] : where(trap.text)) {
      const bool taken = kind == std::string_view("number") ? trap.number : trap.integer;
      const std::string message = complaint(folder, text);
      if (taken) EXPECT_EQ(message, "") << text;
      if (!taken) EXPECT_THAT(message, HasSubstr("expected")) << text;
    }
  }
  EXPECT_THAT(complaint(folder, "longattn: 1\nname: t\nseed: 1,0\n"), HasSubstr("seed is '1,0'"));
}

TEST(Experiment, DurationsAndSizesHaveUnits) {
  const TemporaryFolder folder;
  for (const char* unit : {"us", "ms", "s", "m", "h"}) {
    EXPECT_EQ(complaint(folder, with_gaussian("limits: {time: 1.5" + std::string(unit) + "}")), "");
  }
  for (const char* unit : {"KB", "MB", "GB", "KiB", "MiB", "GiB"}) {
    EXPECT_EQ(complaint(folder, with_gaussian("limits: {memory: 2e1" + std::string(unit) + "}")),
              "");
  }
  for (const char* text : {"1", "010s", "0x1s", "1_0s", "s", "1d", "1S", "-1s", "0s", "nans",
                           "1e400s", "1 s", "'1s'", "1s 1s", "", "[1s]", "5ns"}) {
    EXPECT_THAT(complaint(folder, with_gaussian("limits: {time: " + std::string(text) + "}")),
                HasSubstr("expected a duration such as 20ms, 60s or 2m"))
        << text;
  }
  for (const char* text : {"1", "1B", "1G", "1gib", "0GiB", "-1GiB", "1 GiB", "0x1GB", "1e400GB"}) {
    EXPECT_THAT(complaint(folder, with_gaussian("limits: {memory: " + std::string(text) + "}")),
                HasSubstr("expected a size such as 512MiB, 8GiB or 2GB"))
        << text;
  }
}

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
   = gaussian takes: temperature, seed, sweep, zip

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

TEST(Experiment, AFileOfAnOptionThatIsNotThereIsAMistakeAtItsPlace) {
  const TemporaryFolder folder;
  EXPECT_THAT(complaint(folder, with_variants("[greedy: {layout: evn}]")),
              AllOf(HasSubstr("test.yaml:"), HasSubstr("evn: "), HasSubstr("did you mean 'even'?"),
                    HasSubstr("beside the config file"), HasSubstr("names: even, odd")));
  EXPECT_THAT(complaint(folder, with_variants("[greedy: {span: absent.npy}]")),
              AllOf(HasSubstr("absent.npy: "), HasSubstr("= span: how far")));
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

}  // namespace
}  // namespace longattn
