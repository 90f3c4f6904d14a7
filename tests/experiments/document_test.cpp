// extends and --set: a config made of several files and of arguments.
#include "experiments/config/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "experiments/cli/command_line.h"
#include "experiments/exit_codes.h"
#include "tests/experiments/config_testing.h"

namespace longattn {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kBase =
    "longattn: 1\nname: base\nseed: 5\ninputs: [gaussian: {}]\n"
    "problem: {lengths: [16, 32], num_heads: 4, head_dim: 8}\nvariants: [plain, tiny]\n"
    "measure: {rounds: 3, time: false}\n";

// What reading the file says, the folder's path taken out.
std::string complaint_of(const TemporaryFolder& folder, std::string_view file,
                         std::vector<std::string> overrides = {}) {
  std::string message;
  try {
    read_experiment(folder / file, tiny_variants(), overrides);
    return "";
  } catch (const Error& error) {
    message = error.what();
  }
  const std::string prefix = folder / "";
  for (size_t at; (at = message.find(prefix)) != std::string::npos;) {
    message.erase(at, prefix.size());
  }
  return message;
}

TEST(Extends, MapsMergeListsAndValuesReplaceAndNothingTakesAway) {
  const TemporaryFolder folder;
  folder.file("base.yaml", kBase);
  folder.file("top.yaml",
              "extends: base.yaml\nname: top\nproblem: {lengths: [8], causal: true, head_dim: ~}\n"
              "variants: [tiny: {window: 3}]\nmeasure: {time: true}\nseed: ~\n");
  const Experiment e = read_experiment(folder / "top.yaml", tiny_variants());
  EXPECT_EQ(e.name, "top");
  EXPECT_EQ(e.seed, 1u) << "taken away";
  ASSERT_EQ(e.problems.size(), 1u) << "lists replace";
  const Problem& p = e.problems[0].problem;
  EXPECT_EQ(p.key_len, 8);
  EXPECT_EQ(p.num_heads, 4) << "of the base";
  EXPECT_EQ(p.head_dim, 64) << "taken away";
  EXPECT_TRUE(p.mask.causal);
  ASSERT_EQ(e.variants.size(), 1u);
  EXPECT_EQ(e.variants[0].options.integer("window"), 3);
  EXPECT_EQ(e.measure.rounds, 3);
  EXPECT_TRUE(e.measure.time);
}

TEST(Extends, AKeyAloneInSweepOrInZipReplacesTheOthers) {
  const TemporaryFolder folder;
  folder.file("base.yaml",
              "longattn: 1\nname: base\ninputs: [gaussian: {}]\nvariants: [plain]\nthreads: 1\n"
              "problem: {lengths: 16, causal: true, sweep: {head_dim: [8, 16]},\n"
              "          zip: {batch: [1, 2], num_heads: [4, 2]}}\n");
  const auto count = [&](std::string_view problem, std::vector<std::string> overrides = {}) {
    folder.file("top.yaml", "extends: base.yaml\nproblem: {" + std::string(problem) + "}\n");
    EXPECT_EQ(complaint_of(folder, "top.yaml", overrides), "") << problem;
    return read_experiment(folder / "top.yaml", tiny_variants(), overrides).problems.size();
  };
  EXPECT_EQ(count(""), 4u);
  EXPECT_EQ(count("head_dim: 8"), 2u) << "alone instead of in sweep";
  EXPECT_EQ(count("sweep: {causal: [true, false]}"), 8u) << "in sweep instead of alone";
  EXPECT_EQ(count("zip: {lengths: [8, 16], batch: [4, 2], num_heads: [1, 2]}"), 4u);
  EXPECT_EQ(count("sweep: {head_dim: [8, 16, 32]}"), 6u);
  EXPECT_EQ(count("sweep: ~"), 2u);
  EXPECT_EQ(count("", {"problem.head_dim=8"}), 2u);
  EXPECT_EQ(count("", {"problem.sweep.causal=[true, false]"}), 8u);
  EXPECT_EQ(count("", {"problem.head_dim="}), 2u);
}

TEST(Extends, PathsAreRelativeToTheFileInWhichTheyStand) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "shared/deep");
  write_tiny_trace(folder / "shared/t.safetensors");
  folder.file("shared/deep/base.yaml",
              "longattn: 1\nname: b\ninputs: [trace: ../t.safetensors]\nvariants: [tiny]\n");
  folder.file("shared/middle.yaml", "extends: deep/base.yaml\n");
  folder.file("top.yaml", "extends: shared/middle.yaml\nname: top\n");
  const Experiment e = read_experiment(folder / "top.yaml", tiny_variants());
  EXPECT_EQ(e.problems.at(0).input.path, folder / "shared/t.safetensors");
}

TEST(Extends, AMistakeHasThePlaceInItsOwnFile) {
  const TemporaryFolder folder;
  folder.file("base.yaml", std::string(kBase) + "limits: {tme: 3s}\n");
  folder.file("top.yaml", "extends: base.yaml\nproblem: {lengths: [010]}\n");
  EXPECT_EQ(complaint_of(folder, "top.yaml"),
            "error: length is '010', expected an integer in 1..1099511627776\n"
            "  --> top.yaml:2:21\n"
            "   |\n"
            " 2 | problem: {lengths: [010]}\n"
            "   |                     ^^^\n"
            "\n"
            "error: unknown key 'tme'\n"
            "  --> base.yaml:8:10\n"
            "   |\n"
            " 8 | limits: {tme: 3s}\n"
            "   |          ^^^ did you mean 'time'?\n"
            "   = limits takes: time, memory, patience, max_cells\n"
            "\n"
            "2 errors in top.yaml, base.yaml; nothing was run");
}

TEST(Extends, WhatCannotBeFollowedIsToldWithTheChain) {
  const TemporaryFolder folder;
  folder.file("missing.yaml", "extends: middle.yaml\n");
  folder.file("middle.yaml", "name: x\nextends: absent.yaml\n");
  EXPECT_THAT(complaint_of(folder, "missing.yaml"),
              AllOf(HasSubstr("--> middle.yaml:2:10"), HasSubstr("No such file"),
                    HasSubstr("= missing.yaml extends middle.yaml extends absent.yaml")));
  folder.file("a.yaml", "extends: b.yaml\n");
  folder.file("b.yaml", "extends: ./c.yaml\n");
  folder.file("c.yaml", "extends: a.yaml\n");
  EXPECT_THAT(complaint_of(folder, "a.yaml"),
              AllOf(HasSubstr("extends goes round in a circle"),
                    HasSubstr("= a.yaml extends b.yaml extends c.yaml extends a.yaml")));
  folder.file("self.yaml", "extends: self.yaml\n");
  EXPECT_THAT(complaint_of(folder, "self.yaml"), HasSubstr("self.yaml extends self.yaml"));
  std::filesystem::create_symlink(folder / "link.yaml", folder / "other.yaml");
  folder.file("link.yaml", "extends: other.yaml\n");
  EXPECT_THAT(complaint_of(folder, "link.yaml"), HasSubstr("circle")) << "by another name";
}

TEST(Extends, AChainOfAThousandFilesIsCut) {
  const TemporaryFolder folder;
  for (int n = 0; n < 20; ++n) {
    folder.file(std::to_string(n) + ".yaml", "extends: " + std::to_string(n + 1) + ".yaml\n");
  }
  EXPECT_THAT(complaint_of(folder, "0.yaml"),
              AllOf(HasSubstr("more than 16 files extend each other"),
                    HasSubstr("= 0.yaml extends 1.yaml extends 2.yaml"), HasSubstr("--> 15.yaml")));
}

TEST(Extends, OnlyAPathOfAnotherConfigIsTaken) {
  const TemporaryFolder folder;
  folder.file("list.yaml", "[1]\n");
  for (const auto& [value, message] : {
           std::pair("[a, b]", "extends is a list, expected the path of a file"),
           {"''", "extends is the quoted text"},
           {".", "is a folder, expected a YAML file"},
           {"/dev/zero", "not a regular file"},
           {"http://localhost/x.yaml", "No such file"},
           {"list.yaml", "a config is a list, expected a map"},
       }) {
    folder.file("top.yaml", std::string("longattn: 1\nname: t\ninputs: [gaussian: {}]\n"
                                        "problem: {lengths: 8}\nvariants: [plain]\nextends: ") +
                                value + "\n");
    EXPECT_THAT(complaint_of(folder, "top.yaml"),
                AllOf(HasSubstr(message), HasSubstr("1 error in")))
        << value;
  }
  folder.file("broken.yaml", "a: [1\n");
  folder.file("top.yaml", "extends: broken.yaml\n");
  EXPECT_THAT(complaint_of(folder, "top.yaml"), HasSubstr("--> broken.yaml:"));
}

Experiment with_set(const TemporaryFolder& folder, std::vector<std::string> overrides) {
  folder.file("base.yaml", kBase);
  return read_experiment(folder / "base.yaml", tiny_variants(), overrides);
}

TEST(Set, PutsValuesAtPaths) {
  const TemporaryFolder folder;
  const Experiment e = with_set(
      folder, {"name=other", "problem.lengths=[8, 9]", "problem.causal=true", "measure.rounds=7",
               "inputs.0.gaussian.temperature=2.5", "variants.1.tiny.window=5",
               "variants.1.tiny.sweep={ratio: [0, 1]}", "variants.0=greedy", "measure.time=",
               "where=variant != 'tiny' or ratio < 1", "limits.time=3s", "threads=1"});
  EXPECT_EQ(e.name, "other");
  ASSERT_EQ(e.problems.size(), 2u);
  EXPECT_EQ(e.problems[1].problem.key_len, 9);
  EXPECT_TRUE(e.problems[1].problem.mask.causal);
  EXPECT_EQ(e.measure.rounds, 7);
  EXPECT_TRUE(e.measure.time) << "taken away";
  EXPECT_THAT(e.problems[0].input.options,
              ::testing::Contains(::testing::Pair("temperature", "2.5")));
  ASSERT_EQ(e.variants.size(), 3u);
  EXPECT_EQ(e.variants[0].variant->name, "greedy");
  EXPECT_EQ(e.variants[1].options.integer("window"), 5);
  EXPECT_EQ(e.cells.size(), 4u) << "greedy and tiny with ratio 0, twice";
  EXPECT_EQ(e.limits.time_s, 3);
  EXPECT_EQ(with_set(folder, {"seed=1", "seed=2"}).seed, 2u) << "the last one counts";
}

TEST(Set, APathOnTheCommandLineIsRelativeToTheWorkingDirectory) {
  const TemporaryFolder folder;
  write_tiny_trace(folder / "t.safetensors");
  const std::string here = std::filesystem::relative(folder / "t.safetensors").string();
  const Experiment e =
      with_set(folder, {"inputs=[trace: " + here + "]", "problem=", "variants=[tiny]"});
  EXPECT_EQ(e.problems.at(0).input.path, here);
}

struct Wrong {
  const char* name;
  std::string argument, marked, message;
};
void PrintTo(const Wrong& w, std::ostream* out) { *out << w.name; }
class SetRefuses : public ::testing::TestWithParam<Wrong> {};

TEST_P(SetRefuses, WithACaretBelowTheArgument) {
  const TemporaryFolder folder;
  folder.file("base.yaml", kBase);
  const auto& [name, argument, marked, message] = GetParam();
  const std::string text = complaint_of(folder, "base.yaml", {"seed=3", argument});
  EXPECT_THAT(text, AllOf(HasSubstr(message), HasSubstr(" --> --set\n"),
                          HasSubstr("\n1 error in --set; nothing was run")));
  const std::string shown = "  | " + argument + "\n  | " + std::string(argument.find(marked), ' ') +
                            std::string(marked.size(), '^');
  EXPECT_THAT(text, HasSubstr(shown));
}

INSTANTIATE_TEST_SUITE_P(
    All, SetRefuses,
    ::testing::Values(
        Wrong{"NoEquals", "seed", "seed", "expected KEY=VALUE"},
        Wrong{"NoKey", "=3", "=3", "expected KEY=VALUE"},
        Wrong{"UnknownKey", "problem.lenghts=[8]", "lenghts", "did you mean 'lengths'?"},
        Wrong{"UnknownSection", "limts.time=3s", "limts", "did you mean 'limits'?"},
        Wrong{"UnknownOption", "variants.1.tiny.windw=3", "windw", "did you mean 'window'?"},
        Wrong{"UnknownVariant", "variants.0=tinny", "tinny", "did you mean 'tiny'?"},
        Wrong{"Value", "problem.lengths=[8, 010]", "010", "length is '010'"},
        Wrong{"Range", "variants.1.tiny.window=1001", "1001", "an integer in 0..1000"},
        Wrong{"Index", "variants.2.tiny.window=3", "2",
              "variants is a list of 2: expected an index in 0..1"},
        Wrong{"NoIndex", "variants.tiny.window=3", "tiny", "expected an index in 0..1"},
        Wrong{"NegativeIndex", "variants.-1=tiny", "-1", "expected an index in 0..1"},
        Wrong{"IndexOfAValue", "seed.0=3", "0", "seed is '3', which holds no '0'"},
        Wrong{"OtherVariant", "variants.0.tiny.window=3", "tiny",
              "variants.0 is 'plain', which holds no"},
        Wrong{"EmptySegment", "problem.=8", "=", "unknown key ''"},
        Wrong{"Syntax", "problem.lengths=[8", "[", "a bracket that is never closed"},
        Wrong{"Tag", "name=!x y", "!", "tag '!x'"},
        Wrong{"Condition", "where=length > 8 and windw > 3", "windw", "did you mean 'window'?"},
        Wrong{"QuotedCondition", "where=\"length > 8 and 1\"", "1", "'and' takes conditions"},
        Wrong{"Extends", "extends=other.yaml", "extends", "followed before --set"}),
    [](const auto& test) { return test.param.name; });

TEST(Set, MistakesOfFilesAndArgumentsAreToldTogether) {
  const TemporaryFolder folder;
  folder.file("base.yaml", std::string(kBase) + "threads: 0\n");
  const std::string text =
      complaint_of(folder, "base.yaml", {"problem.causal=yes", "measure.round=3"});
  EXPECT_THAT(text, AllOf(HasSubstr("threads is '0'"), HasSubstr("causal is 'yes'"),
                          HasSubstr("unknown key 'round'"),
                          HasSubstr("3 errors in base.yaml, --set; nothing was run")));
}

TEST(Document, TheWholeTreeIsYamlThatReadsBackToIt) {
  const TemporaryFolder folder;
  folder.file("base.yaml", std::string(kBase) + "description: \"a: 'b' \\\\ \\\"\\n\\t\\x1b #\"\n");
  folder.file("top.yaml",
              "extends: base.yaml\nvariants:\n- tiny: {zip: {window: [1, 2], tokens: [[0], []]}}\n"
              "- tiny: {pattern: 'fixed'}\n- plain:\n- {plain: }\ninputs: []\n");
  const std::vector<std::string> overrides = {"problem.scale=0.5", "inputs=[[[], {}], 'x: y']"};
  const ConfigDocument first = read_document(folder / "top.yaml", overrides);
  const std::string path = folder.file("whole.yaml", first.text);
  const ConfigDocument second = read_document(path, {});
  EXPECT_EQ(to_yaml(second.root), to_yaml(first.root));
  EXPECT_EQ(second.root.find("description")->text, "a: 'b' \\ \"\n\t\x1b #");
  EXPECT_EQ(second.root.find("variants")->items.size(), 4u);
  EXPECT_TRUE(second.root.find("variants")->items[1].entries[0].value.find("pattern")->quoted);
  EXPECT_EQ(second.root.find("inputs")->items[0].items[1].kind, YamlNode::Kind::map);
  EXPECT_THAT(first.text, HasSubstr("problem.scale=0.5"));
  EXPECT_EQ(read_document(folder / "base.yaml", {}).text,
            std::string(kBase) + "description: \"a: 'b' \\\\ \\\"\\n\\t\\x1b #\"\n")
      << "one file alone is kept as it is";
}

TEST(Set, WorksOnPlanAndRunAlike) {
  const TemporaryFolder folder;
  const std::string config = folder.file("base.yaml", kBase);
  for (const char* command : {"plan", "run"}) {
    std::vector<std::string> arguments = {
        "longattn", command, "--set", "problem.lenghts=[1,2]", config, "--set=seed=x"};
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(run_command_line(static_cast<int>(argv.size()), argv.data(), tiny_variants()),
              kExitUsage);
    EXPECT_THAT(::testing::internal::GetCapturedStderr(),
                AllOf(HasSubstr("did you mean 'lengths'?"), HasSubstr("seed is 'x'"),
                      HasSubstr("2 errors in --set; nothing was run")));
  }
}

}  // namespace
}  // namespace longattn
