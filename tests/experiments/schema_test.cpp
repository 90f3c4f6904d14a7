#include "experiments/config/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"
#include "experiments/config/document.h"
#include "experiments/inputs/generator.h"
#include "tests/experiments/config_testing.h"
#include "tests/experiments/json_schema.h"
#include "variants/registry.h"

namespace longattn {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<std::string> complaints(std::span<const Variant* const> variants,
                                    const std::string& text) {
  Diagnostics diagnostics;
  const YamlNode root = parse_yaml({.name = "a.yaml", .text = text}, diagnostics);
  return schema_complaints(config_schema(variants), to_json(root));
}

std::vector<std::string> shipped_configs() {
  std::vector<std::string> paths;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(LONGATTN_SOURCE_DIR "/configs")) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path().string());
  }
  return paths;
}

TEST(Schema, EveryShippedConfigIsValid) {
  const auto paths = shipped_configs();
  EXPECT_GE(paths.size(), 4u);
  for (const std::string& path : paths) {
    EXPECT_THAT(complaints(builtin_variants(), read_yaml_text(path)), IsEmpty()) << path;
  }
}

// Every map of a shipped config is closed: another key anywhere is a mistake.
void with_another_key(json& value, const std::function<void()>& check) {
  if (value.is_object()) {
    value["nosuchkey"] = 1;
    check();
    value.erase("nosuchkey");
  }
  if (value.is_structured()) {
    for (json& inner : value) with_another_key(inner, check);
  }
}

TEST(Schema, AShippedConfigWithAnotherKeyAnywhereIsNot) {
  const json schema = config_schema(builtin_variants());
  int tried = 0;
  for (const std::string& path : shipped_configs()) {
    Diagnostics diagnostics;
    json config = to_json(parse_yaml({.name = path, .text = read_yaml_text(path)}, diagnostics));
    with_another_key(config, [&] {
      ++tried;
      EXPECT_THAT(schema_complaints(schema, config), Not(IsEmpty())) << config.dump(1);
    });
  }
  EXPECT_GT(tried, 20);
}

// Every option of every variant, by its default, alone, in sweep and in zip: the schema says what
// the reader says.
TEST(Schema, KnowsEveryOptionOfEveryVariant) {
  const TemporaryFolder folder;
  for (const Variant* variant : builtin_variants()) {
    for (const Option& option : variant->options) {
      std::string value = to_text(option.default_value);
      if (value.empty()) value = "''";
      const std::string name(variant->name);
      for (const std::string& options :
           {option.name + ": " + value, "sweep: {" + option.name + ": [" + value + "]}",
            "zip: {" + option.name + ": [" + value + "]}"}) {
        const std::string text = with_gaussian("", "[" + name + ": {" + options + "}]");
        EXPECT_THAT(complaints(builtin_variants(), text), IsEmpty()) << text;
        EXPECT_NO_THROW(read_experiment(folder.file("a.yaml", text), builtin_variants())) << text;
      }
      const std::string wrong = with_gaussian("", "[" + name + ": {" + option.name + ": {}}]");
      EXPECT_THAT(complaints(builtin_variants(), wrong), Not(IsEmpty())) << wrong;
    }
  }
}

TEST(Schema, KnowsEveryOptionOfEveryGenerator) {
  const TemporaryFolder folder;
  const auto text = [](const Generator& generator, const std::string& options) {
    return config("inputs: [" + std::string(generator.name) + ": {" + options +
                  "}]\nproblem: {lengths: 512}");
  };
  for (const Generator* generator : generators()) {
    for (const Option& option : generator->options) {
      const std::string value = option.name + ": ", fallback = to_text(option.default_value);
      for (const std::string& options :
           {value + fallback, "sweep: {" + value + "[" + fallback + "]}"}) {
        const std::string good = text(*generator, options);
        EXPECT_THAT(complaints(tiny_variants(), good), IsEmpty()) << good;
        EXPECT_NO_THROW(read_text(folder, good)) << good;
      }
      EXPECT_THAT(complaints(tiny_variants(), text(*generator, value + "-1")), Not(IsEmpty()));
    }
    const std::string both =
        config("inputs: [{trace: t, " + std::string(generator->name) + ": {}}]");
    EXPECT_THAT(complaints(tiny_variants(), both), Not(IsEmpty())) << both;
  }
}

TEST(Schema, TellsEditorsRangesDefaultsAndMeanings) {
  const json schema = config_schema(tiny_variants());
  const json& maps = schema["/$defs/variants/items/anyOf/1/properties"_json_pointer];
  const json& window = maps["tiny"]["properties"]["window"];
  EXPECT_EQ(window["type"], "integer");
  EXPECT_EQ(window["minimum"], 0);
  EXPECT_EQ(window["maximum"], 1000);
  EXPECT_EQ(window["default"], 8);
  EXPECT_EQ(window["description"], "keys on each side");
  EXPECT_EQ(maps["tiny"]["properties"]["pattern"]["enum"], json({"strided", "fixed"}));
  EXPECT_EQ(schema["/$defs/measure/properties/rounds/default"_json_pointer], Measure{}.rounds);
  EXPECT_EQ(schema["/$defs/limits/properties/memory/default"_json_pointer], "8GiB");
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

// What both take.
TEST(Schema, TakesWhatTheReaderTakes) {
  const TemporaryFolder folder;
  for (const std::string& text : {
           with_gaussian(""),
           with_gaussian("description: 2024\nthreads: 1\nseed: 0\nwhere: length > 1"),
           with_gaussian("threads: [1, 2]\nmeasure: {rounds: 1, min_time: 1.5ms, time: false}"),
           with_gaussian("limits: {time: 2m, memory: .5GiB, max_cells: 100}"),
           with_problem("batch: 2, scale: -0.5, dtype: float16, causal: true"),
           with_problem("sweep: {num_heads: [2, 4], dtype: [float32]}, zip: {scale: [1, 2e-1]}"),
           config("inputs: [gaussian: {sweep: {temperature: [1, 2]}, seed: 3}]\n"
                  "problem: {zip: {lengths: [16, [8, 32]], batch: [1, 2]}}"),
           config("inputs: [{sweep: {gaussian: [{}, {seed: 2}]}}]\nproblem: {lengths: 8}"),
           with_variants("[plain, tiny, greedy: ]"),
           with_variants("[tiny: {window: 0, ratio: 1, pattern: fixed, tokens: 5, tied: false}]"),
           with_variants("[tiny: {stride: auto, tokens: [0, 1], sweep: {window: [1, 2]}}]"),
           with_variants("[tiny: {zip: {stride: [auto, 3], tokens: [[], [1]]}}]"),
       }) {
    EXPECT_EQ(complaint(folder, text), "") << text;
    EXPECT_THAT(complaints(tiny_variants(), text), IsEmpty()) << text;
  }
}

// Nothing (~) takes a key away from the file that is extended, and means nothing elsewhere.
TEST(Schema, TakesNothingForAKeyWhereAnotherFileIsExtended) {
  const TemporaryFolder folder;
  folder.file("base.yaml",
              with_gaussian("where: length > 1\nmeasure: {rounds: 3}\nlimits: {time: 2m}"));
  folder.file("swept.yaml", with_problem("sweep: {causal: [false, true], dtype: [float32]}"));
  for (const std::string& text :
       {std::string("extends: base.yaml\nwhere: ~"), std::string("extends: base.yaml\nlimits: ~"),
        std::string("extends: base.yaml\nmeasure: {rounds: ~, time: false}"),
        std::string("extends: swept.yaml\nproblem: {sweep: ~}")}) {
    EXPECT_EQ(complaint(folder, text), "") << text;
    EXPECT_THAT(complaints(tiny_variants(), text), IsEmpty()) << text;
  }
  for (const std::string& text :
       {with_gaussian("where: ~"), with_gaussian("measure: {rounds: ~}"),
        with_gaussian("measure: ~"), with_gaussian("limits: {time: ~}"), with_problem("dtype: ~"),
        with_problem("sweep: ~"), with_problem("sweep: {causal: ~}"),
        config("inputs: [gaussian: ~]\nproblem: {lengths: 8}"),
        with_variants("[tiny: {window: ~}]"), with_gaussian("extends: ~"),
        std::string("extends: base.yaml\nvariants: [tiny: {window: ~}]"),
        std::string("extends: base.yaml\nproblem: {dtype: []}"),
        std::string("extends: base.yaml\nname: ~"),
        std::string("extends: swept.yaml\nproblem: {sweep: {causal: ~}}")}) {
    EXPECT_NE(complaint(folder, text), "") << text;
    EXPECT_THAT(complaints(tiny_variants(), text), Not(IsEmpty())) << text;
  }
}

TEST(Schema, RefusesWhatTheReaderRefuses) {
  const TemporaryFolder folder;
  for (const std::string& text : {
           std::string("longattn: 1\nname: t\n"),
           with_gaussian("longatn: 1"),
           with_gaussian("threads: [1, 1]"),
           with_gaussian("threads: []"),
           with_gaussian("threads: 0"),
           with_gaussian("seed: 1.5"),
           with_gaussian("seed: x"),
           with_gaussian("where: [1]"),
           with_gaussian("measure: {rounds: 1001}"),
           with_gaussian("measure: {min_time: 20}"),
           with_gaussian("measure: {min_time: 20ns}"),
           with_gaussian("measure: {time: yes}"),
           with_gaussian("measure: [1]"),
           with_gaussian("limits: {memory: 8G}"),
           with_gaussian("extends: []"),
           with_problem("dtype: float31"),
           with_problem("scale: wide"),
           with_problem("num_heads: 0"),
           with_problem("sweep: {num_heads: 4}"),
           with_problem("sweep: {num_heads: []}"),
           with_problem("zip: {heads: [4]}"),
           config("inputs: []\nproblem: {lengths: 8}"),
           config("inputs: [{label: x}]\nproblem: {lengths: 8}"),
           config("inputs: [{gaussian: {}, trace: x}]\nproblem: {lengths: 8}"),
           config("inputs: [gaussian: {temperature: -1}]\nproblem: {lengths: 8}"),
           config("inputs: [gaussian: {}]\nproblem: {lengths: [8, 0]}"),
           with_variants("[]"),
           with_variants("[tinny]"),
           with_variants("[{plain: , tiny: }]"),
           with_variants("[tiny: {window: 1001}]"),
           with_variants("[tiny: {window: '4'}]"),
           with_variants("[tiny: {window: [1, 2]}]"),
           with_variants("[tiny: {pattern: round}]"),
           with_variants("[tiny: {ratio: auto}]"),
           with_variants("[tiny: {tokens: [-1]}]"),
           with_variants("[tiny: {sweep: {window: 4}}]"),
           with_variants("[plain: {window: 4}]"),
       }) {
    EXPECT_NE(complaint(folder, text), "") << text;
    EXPECT_THAT(complaints(tiny_variants(), text), Not(IsEmpty())) << text;
  }
  for (const char* name : {"../x", "a b", ".x", "x/y"}) {
    const std::string text = "longattn: 1\nvariants: [plain]\nname: " + std::string(name) + "\n" +
                             std::string(kGaussianText);
    EXPECT_THAT(complaints(tiny_variants(), text), Contains(HasSubstr("config.name: pattern")));
  }
}

}  // namespace
}  // namespace longattn
