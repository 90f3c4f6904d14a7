#include "experiments/check/laws.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "experiments/check/check.h"
#include "experiments/check/shapes.h"
#include "experiments/measure/heap_counter.h"
#include "tests/conformance/stubs.h"

namespace longattn {
namespace {

std::string told(const CheckReport& report) {
  std::string text;
  for (const BrokenLaw& violation : report.violations) {
    text += violation.law + " on " + violation.problem + ": " + violation.detail + "\n";
  }
  return text;
}

const LawTally& tally(const CheckReport& report, std::string_view law) {
  return *std::ranges::find(report.laws, law, &LawTally::law);
}

TEST(ConformanceKit, AnHonestVariantPassesEveryLaw) {
  const CheckReport plain = check_variant(stub(Fault::none));
  EXPECT_TRUE(plain.passed()) << told(plain);
  const CheckReport selecting = check_variant(stub(Fault::none_selecting));
  EXPECT_TRUE(selecting.passed()) << told(selecting);
  for (const LawTally& law : plain.laws) {
    if (law.law == "heap" && !heap_counting_available()) continue;
    EXPECT_GT(law.run + tally(selecting, law.law).run, 0) << law.law << " never ran";
  }
  EXPECT_THAT(selecting.notes, testing::Contains("chooses keys by looking at the future"));
}

class BrokenStubs : public testing::TestWithParam<BrokenStub> {};

TEST_P(BrokenStubs, IsCaughtByItsLaw) {
  const BrokenStub& broken = GetParam();
  if (broken.law == "heap" && !heap_counting_available()) return;  // sanitizers own malloc
  CheckSettings settings;
  settings.laws = {std::string(broken.law)};
  settings.stop_at_first = true;
  const CheckReport report = check_variant(stub(broken.fault), settings);
  ASSERT_FALSE(report.passed());
  EXPECT_EQ(report.violations[0].law, broken.law);
  EXPECT_FALSE(report.violations[0].detail.empty());
  EXPECT_FALSE(report.violations[0].problem.empty());
}

INSTANTIATE_TEST_SUITE_P(ConformanceKit, BrokenStubs, testing::ValuesIn(kBrokenStubs),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(ConformanceKit, HasABrokenStubForEveryLaw) {
  std::set<std::string_view> caught;
  for (const BrokenStub& broken : kBrokenStubs) caught.insert(broken.law);
  for (const Law& law : conformance_laws()) EXPECT_TRUE(caught.contains(law.name)) << law.name;
}

TEST(ConformanceKit, HasEveryFaultInItsTable) {
  std::set<Fault> listed = {Fault::none, Fault::none_selecting};
  for (const BrokenStub& broken : kBrokenStubs) listed.insert(broken.fault);
  EXPECT_EQ(listed.size(), kFaults);
}

// At 4,096 tokens each weight is small; a tolerance too wide to see this would be no gate.
TEST(ConformanceKit, SeesNullBaselinesAndAWrongScaleAt4096Tokens) {
  const std::vector<Shape> shapes = conformance_shapes();
  const auto long_shape = std::ranges::find_if(shapes, &Shape::long_sequence);
  ASSERT_NE(long_shape, shapes.end());
  ASSERT_EQ(long_shape->problem.key_len, 4096);
  ASSERT_EQ(long_shape->temperature, 1);
  const auto broken = [&](Fault fault) {
    const Case c(stub(fault), Options(stub(fault).options), *long_shape, false);
    return forward_equals_definition(c) || equals_full_attention(c);
  };
  EXPECT_FALSE(broken(Fault::none));
  EXPECT_TRUE(broken(Fault::zero_forward));
  EXPECT_TRUE(broken(Fault::zero_definition));
  EXPECT_TRUE(broken(Fault::mean_forward));
  EXPECT_TRUE(broken(Fault::mean_definition));
  EXPECT_TRUE(broken(Fault::scaled));
}

TEST(ConformanceKit, CountsWhatAVariantRefuses) {
  const CheckReport report = check_variant(stub(Fault::refuses_everything));
  EXPECT_FALSE(report.passed());
  EXPECT_EQ(report.cases, 0);
  ASSERT_TRUE(report.refused.contains("it does not want to"));
  EXPECT_GT(report.refused.at("it does not want to"), 40);
}

}  // namespace
}  // namespace longattn
