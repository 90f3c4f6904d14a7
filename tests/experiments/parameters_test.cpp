#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "experiments/exit_codes.h"
#include "tests/experiments/command_testing.h"

namespace longattn {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

TEST(ParametersCommand, PrintsTheTableOfGpt3) {
  const CommandResult result = run_command({"parameters"});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, ContainsRegex("Embedding +12,288 x 50,257 +617,558,016\n"));
  EXPECT_THAT(result.out, ContainsRegex("Key +128 x 12,288 x 96 x 96 +14,495,514,624\n"));
  EXPECT_THAT(result.out, ContainsRegex("Total +27,938 matrices +175,181,291,520\n"));
  EXPECT_THAT(result.out, ContainsRegex("attention +33.1 % +57,982,058,496\n"));
}

TEST(ParametersCommand, SpeaksJsonAndTakesEveryNumber) {
  const CommandResult result =
      run_command({"parameters", "--model-dim", "8", "--head-dim", "2", "--value-dim", "3",
                   "--heads", "4", "--kv-heads", "2", "--layers", "5", "--feed-forward-dim", "7",
                   "--vocabulary", "11", "--json"});
  EXPECT_EQ(result.code, kExitOk);
  const auto json = nlohmann::json::parse(result.out);
  const std::vector<Index> expected = {88, 160, 320, 240, 480, 280, 280, 88};
  for (size_t n = 0; n < expected.size(); ++n)
    EXPECT_EQ(json["parts"][n]["parameters"], expected[n]);
  EXPECT_EQ(json["total"], 1936);
  EXPECT_EQ(json["num_kv_heads"], 2);
}

TEST(ParametersCommand, HasAsManyKvHeadsAsHeadsUnlessTold) {
  const CommandResult result = run_command({"parameters", "--heads", "5", "--json"});
  EXPECT_EQ(nlohmann::json::parse(result.out)["num_kv_heads"], 5);
}

TEST(ParametersCommand, RefusesHeadsThatDoNotDivideWithBothNumbers) {
  const CommandResult result = run_command({"parameters", "--heads", "6", "--kv-heads", "4"});
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("num_heads 6 is not a multiple of num_kv_heads 4"));
}

}  // namespace
}  // namespace longattn
