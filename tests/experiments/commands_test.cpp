#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "experiments/cli/command_line.h"
#include "experiments/exit_codes.h"
#include "tests/experiments/config_testing.h"

namespace longattn {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct Answer {
  int code = 0;
  std::string out, error;
};

Answer longattn_with_tiny_variants(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "longattn");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Answer answer;
  answer.code = run_command_line(static_cast<int>(argv.size()), argv.data(), tiny_variants());
  answer.out = ::testing::internal::GetCapturedStdout();
  answer.error = ::testing::internal::GetCapturedStderr();
  return answer;
}

json find(const json& list, std::string_view name) {
  for (const json& entry : list) {
    if (entry.at("name") == name) return entry;
  }
  return nullptr;
}

TEST(List, NamesEveryVariantWithItsSummary) {
  const Answer answer = longattn_with_tiny_variants({"list"});
  EXPECT_EQ(answer.code, kExitOk);
  EXPECT_EQ(answer.error, "");
  EXPECT_THAT(answer.out, ::testing::ContainsRegex("tiny +a window\n"));
  EXPECT_THAT(answer.out, ::testing::ContainsRegex("plain +no options\n"));
}

TEST(List, SpeaksJson) {
  const json all = json::parse(longattn_with_tiny_variants({"list", "--json"}).out);
  const json tiny = find(all, "tiny");
  EXPECT_EQ(tiny.at("summary"), "a window");
  EXPECT_EQ(tiny.at("paper"), "Nobody (2024)");
}

TEST(Describe, TellsEveryOptionWithTypeRangeDefaultAndMeaning) {
  const Answer answer = longattn_with_tiny_variants({"describe", "tiny"});
  EXPECT_EQ(answer.code, kExitOk);
  for (const char* part :
       {"Nobody (2024)", "window", "0..1000", "default 8", "keys on each side",
        "a larger value sees every key", "strided", "fixed", "auto", "more_keys", "time ~ N^1"}) {
    EXPECT_THAT(answer.out, HasSubstr(part));
  }
}

TEST(Describe, SpeaksJson) {
  const json tiny = json::parse(longattn_with_tiny_variants({"describe", "tiny", "--json"}).out);
  const json window = find(tiny.at("options"), "window");
  EXPECT_EQ(window.at("type"), "integer");
  EXPECT_EQ(window.at("minimum"), 0);
  EXPECT_EQ(window.at("maximum"), 1000);
  EXPECT_EQ(window.at("default"), "8");
  EXPECT_EQ(window.at("nested"), true);
  EXPECT_EQ(find(tiny.at("options"), "pattern").at("choices"), json({"strided", "fixed"}));
  EXPECT_EQ(find(tiny.at("options"), "stride").at("auto"), true);
  EXPECT_EQ(find(tiny.at("extra_tensors"), "more_keys").at("like"), "keys");
  EXPECT_EQ(tiny.at("growth").at("time"), 1);
  EXPECT_EQ(tiny.at("causal").at("exact"), false);
}

TEST(Describe, TellsWhyACausalProblemIsRefused) {
  const Answer answer = longattn_with_tiny_variants({"describe", "plain"});
  EXPECT_THAT(answer.out, HasSubstr("plain has no causal form"));
}

TEST(Describe, AMisspeltNameIsAUsageErrorWithTheClosestOne) {
  const Answer answer = longattn_with_tiny_variants({"describe", "tinny"});
  EXPECT_EQ(answer.code, kExitUsage);
  EXPECT_EQ(answer.out, "");
  EXPECT_THAT(answer.error, HasSubstr("did you mean 'tiny'?"));
}

constexpr std::string_view kConfig =
    "longattn: 1\nname: t\nthreads: 1\ninputs: [{label: noise, gaussian: {}}]\n"
    "problem: {lengths: [1, 4], num_heads: 1, causal: true}\nvariants: [tiny, plain, greedy]\n"
    "limits: {memory: 4GB}\n";

TEST(PlanCommand, ShowsEveryCellWithItsCostAndWhatComesOfIt) {
  const TemporaryFolder folder;
  const Answer answer = longattn_with_tiny_variants({"plan", folder.file("a.yaml", kConfig)});
  EXPECT_EQ(answer.code, kExitOk);
  EXPECT_EQ(answer.error, "");
  for (const char* part :
       {"t: 6 cells (3 run, 2 unsupported, 1 skipped)", "noise", "tiny\n",
        "plain has no causal form", "needs 14.9 GiB", "limit 3.73 GiB", "one pass over every cell",
        "this machine, 1 thread: ", " GB/s read from memory", "noise: 1 head, head_dim 64, causal",
        "workspace", "1.00 KiB", "\nabout ", " in all: timing "}) {
    EXPECT_THAT(answer.out, HasSubstr(part));
  }
}

// The name of a cell there is its name in the report.
TEST(PlanCommand, NamesCellsByTheOptionsInWhichTheyDiffer) {
  const TemporaryFolder folder;
  const std::string config =
      "longattn: 1\nname: t\nthreads: 1\ninputs: [{gaussian: {}}]\nproblem: {lengths: [1, 4]}\n"
      "variants: [tiny: {ratio: 0.25, sweep: {window: [2, 3]}}, plain]\n";
  const Answer answer = longattn_with_tiny_variants({"plan", folder.file("a.yaml", config)});
  EXPECT_EQ(answer.code, kExitOk) << answer.error;
  for (const char* label :
       {"runs         tiny window=2\n", "runs         tiny window=3\n", "runs         plain\n"}) {
    const size_t first = answer.out.find(label);
    ASSERT_NE(first, std::string::npos) << label << answer.out;
    EXPECT_NE(answer.out.find(label, first + 1), std::string::npos) << "at both lengths";
  }
}

TEST(PlanCommand, SpeaksJson) {
  const TemporaryFolder folder;
  const Answer answer =
      longattn_with_tiny_variants({"plan", folder.file("a.yaml", kConfig), "--json"});
  const json plan = json::parse(answer.out);
  ASSERT_EQ(plan.at("cells").size(), 6u);
  EXPECT_EQ(plan["cells"][0].at("status"), "runs");
  EXPECT_EQ(plan["cells"][0].at("flops"), 2);
  EXPECT_FALSE(plan["cells"][0].contains("reason"));
  EXPECT_EQ(plan["cells"][1].at("status"), "unsupported");
  EXPECT_EQ(plan["cells"][1].at("reason"), "plain has no causal form");
  EXPECT_FALSE(plan["cells"][1].contains("flops"));
  EXPECT_EQ(plan["cells"][5].at("status"), "skipped");
  EXPECT_EQ(plan["totals"].at("runs"), 3);
  EXPECT_EQ(plan["cells"][0].at("tensors_bytes"), 4 * 64 * sizeof(float));
  const json seconds = plan["cells"][0].at("predicted_s");
  EXPECT_GT(seconds.at("pass"), 0);
  EXPECT_NEAR(seconds.at("total"),
              seconds.at("time").get<double>() + seconds.at("error").get<double>() +
                  seconds.at("memory").get<double>(),
              1e-12);
  EXPECT_FALSE(plan["cells"][5].contains("predicted_s"));
  EXPECT_EQ(plan["machine"]["ceilings"].at(0).at("threads"), 1);
  for (const char* rate : {"flops_per_s", "bytes_per_s"}) {
    EXPECT_GT(plan["machine"]["ceilings"][0].at(rate), 0) << rate;
  }
  for (const char* rate : {"judged_per_s", "drawn_per_s", "process_start_s"}) {
    EXPECT_GT(plan["machine"].at(rate), 0) << rate;
  }
  EXPECT_EQ(plan["limits"].at("memory_bytes"), 4e9);
  EXPECT_GT(plan["totals"]["predicted_s"].at("total"), 0);
  EXPECT_EQ(plan["totals"].at("flops"), 2 + 2 + 8) << "tiny and greedy at 1 token, tiny at 4";
}

TEST(PlanCommand, AWrongConfigIsToldAsItIsWithExitCodeTwo) {
  const TemporaryFolder folder;
  const Answer answer =
      longattn_with_tiny_variants({"plan", folder.file("a.yaml", "longattn: 1\nnmae: t\n")});
  EXPECT_EQ(answer.code, kExitUsage);
  EXPECT_EQ(answer.out, "");
  EXPECT_THAT(answer.error, AllOf(::testing::StartsWith("error: "),
                                  HasSubstr("did you mean 'name'?"), HasSubstr("errors in ")));
}

TEST(PlanCommand, ABrokenTraceAndAnAbsentConfigHaveTheirOwnExitCodes) {
  const TemporaryFolder folder;
  folder.file("t.safetensors", "no trace");
  const std::string config = folder.file(
      "a.yaml", "longattn: 1\nname: t\ninputs: [trace: t.safetensors]\nvariants: [plain]\n");
  EXPECT_EQ(longattn_with_tiny_variants({"plan", config}).code, kExitData);
  EXPECT_EQ(longattn_with_tiny_variants({"plan", folder / "absent.yaml"}).code, kExitIo);
}

TEST(SchemaCommand, PrintsASchemaThatKnowsAdditionalVariants) {
  const Answer answer = longattn_with_tiny_variants({"schema"});
  EXPECT_EQ(answer.code, kExitOk);
  const json schema = json::parse(answer.out);
  const json& maps = schema["/$defs/variants/items/anyOf/1/properties"_json_pointer];
  EXPECT_TRUE(maps.contains("tiny"));
  EXPECT_TRUE(maps.contains("longformer"));
}

// All of them, and every variant takes every problem, but for low_rank_oracle, which stops at
// 4,096. (Whether a cell is skipped depends on the machine.)
TEST(Configs, TheShippedOnesAreRead) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(LONGATTN_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    ++files;
    const Answer answer = longattn_with_tiny_variants({"plan", entry.path().string(), "--json"});
    ASSERT_EQ(answer.code, kExitOk) << answer.error;
    const json plan = json::parse(answer.out);
    for (const json& cell : plan.at("cells")) {
      const bool too_long = cell.at("variant") == "low_rank_oracle" &&
                            cell.at("problem").at("key_len").get<Index>() > 4096;
      EXPECT_EQ(cell.at("status") == "unsupported", too_long) << entry.path() << cell;
    }
  }
  EXPECT_GE(files, 14);
}

}  // namespace
}  // namespace longattn
