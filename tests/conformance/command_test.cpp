#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments/cli/command_line.h"
#include "tests/conformance/stubs.h"

namespace longattn {
namespace {

using testing::HasSubstr;

struct Outcome {
  int code;
  std::string output, error;
};

Outcome run(std::vector<std::string> arguments, const std::vector<const Variant*>& additional) {
  arguments.insert(arguments.begin(), "longattn");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = run_command_line(static_cast<int>(arguments.size()), argv.data(), additional);
  return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

TEST(CheckCommand, SaysThatAVariantConformsAndExitsZero) {
  const Outcome outcome = run({"check", "zero"}, {});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.output, HasSubstr("zero: conforms, "));
  EXPECT_EQ(outcome.error, "");
}

TEST(CheckCommand, ExplainsABrokenLawAndExitsOne) {
  const Outcome outcome =
      run({"check", "stub", "--law", "causality"}, {&stub(Fault::takes_causal)});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("causality is broken"));
  EXPECT_THAT(outcome.output, HasSubstr("query_len 32, key_len 32"));
  EXPECT_THAT(outcome.output, HasSubstr("window=1048576"));
  EXPECT_THAT(outcome.output, HasSubstr("accepts a causal problem"));
}

TEST(CheckCommand, WritesJsonThatAProgramCanRead) {
  const Outcome outcome =
      run({"check", "stub", "zero", "--law", "exact", "--law", "rounding", "--json"},
          {&stub(Fault::zero_definition)});
  EXPECT_EQ(outcome.code, 1);
  const auto json = nlohmann::json::parse(outcome.output);
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json[0]["variant"], "stub");
  EXPECT_EQ(json[0]["conforms"], false);
  EXPECT_EQ(json[0]["violations"][0]["law"], "exact");
  EXPECT_EQ(json[1]["conforms"], true);
  EXPECT_EQ(json[1]["laws"][0]["failed"], 0);
  EXPECT_GT(json[1]["laws"][0]["run"], 40);
}

TEST(CheckCommand, RefusesWhatItDoesNotKnowWithTheClosestName) {
  const Outcome variant = run({"check", "longfromer"}, {});
  EXPECT_EQ(variant.code, 2);
  EXPECT_THAT(variant.error, HasSubstr("no variant 'longfromer'; did you mean 'longformer'?"));
  const Outcome law = run({"check", "zero", "--law", "futures"}, {});
  EXPECT_EQ(law.code, 2);
  EXPECT_THAT(law.error, HasSubstr("no law 'futures'; did you mean 'future'?"));
  EXPECT_EQ(run({"check"}, {}).code, 2);
  EXPECT_EQ(run({"check", "zero", "--all"}, {}).code, 2);
}

TEST(CheckCommand, TeachesConformance) {
  const Outcome outcome = run({"check", "--help"}, {});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("forward must equal W V"));
}

}  // namespace
}  // namespace longattn
