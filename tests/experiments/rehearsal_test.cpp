// `longattn rehearse`, as a user runs it. How close predictions come is no matter for a test, which
// shares its processors; what they can never be is above what was measured, because no rank sleeps
// less than its rate and links say.
#include <gmock/gmock.h>

#include "tests/experiments/parse_csv.h"
#include "tests/experiments/run_testing.h"
#include "tests/mpi_environment.h"
#include "variants/ring/mpi_communicator.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;

using Row = std::map<std::string, std::string>;  // by column
std::vector<Row> rows_of(const std::string& csv) {
  const auto lines = parse_csv(csv);
  std::vector<Row> rows;
  for (size_t n = 1; n < lines.size(); ++n) {
    Row& row = rows.emplace_back();
    for (size_t k = 0; k < lines[n].size(); ++k) row[lines[0].at(k)] = lines[n][k];
  }
  return rows;
}

class Rehearsals : public RunTest {
 protected:
  int rehearse(const std::filesystem::path& config, const Arguments& more = {},
               const Environment& environment = {}) {
    Arguments all = {"rehearse", config.string(), "--output", results_folder()};
    all.insert(all.end(), more.begin(), more.end());
    return call(kProgram, all, environment);
  }
  std::vector<Row> table(const char* name) const {
    return rows_of(slurp(std::filesystem::path(results_folder()) / name));
  }
};

constexpr const char* kClusters =
    "clusters:\n"
    "  - {label: a, ranks: [1, 3], rate: 1e8, latency: 1ms, bandwidth: 1MB}\n"
    "  - {label: b, ranks: [4], rate: 1e7, overhead: 2ms, latency: 10ms, bandwidth: 1GB,"
    " slow_ranks: 1, slow_factor: 2, jitter: 0.2}\n";

TEST_F(Rehearsals, TakeNoLessThanWasWrittenDownBefore) {
  const auto config = write_config(
      "[zero, ring, ring: {layout: striped, wire: bfloat16}, ring: {window: 9, exchange: ring}]",
      kClusters, "[40, 61]");
  const int code = rehearse(config, {"--passes", "2"});
  const auto predicted = table("predictions.csv"), measured = table("rehearsal.csv");
  ASSERT_EQ(measured.size(), 2u * 3u * 3u);
  ASSERT_EQ(predicted.size(), measured.size());
  bool late = false;  // on a machine that is too busy, and then told
  for (size_t n = 0; n < measured.size(); ++n) {
    Row row = measured[n];
    for (const auto& [name, value] : predicted[n]) EXPECT_EQ(row.at(name), value) << name;
    EXPECT_EQ(row.at("failure"), "");
    EXPECT_EQ(row.at("passes"), "2");
    late = late || row.at("late_steps") != "0";
    const double least = std::stod(row.at("measured_least_s"));
    EXPECT_GE(least, std::stod(row.at("predicted_s")) * (1 - 1e-6)) << row.at("setting");
    EXPECT_LE(least, std::stod(row.at("measured_s")));
    EXPECT_LE(std::stod(row.at("measured_s")), std::stod(row.at("measured_most_s")));
  }
  EXPECT_EQ(code, late ? 1 : 0) << err() << out();
  EXPECT_THAT(out(), HasSubstr("18 of 18 run"));
}

TEST_F(Rehearsals, SayWhatCannotBeActedOut) {
  const auto config = write_config(
      "[ring]",
      "clusters:\n"
      "  - {label: crowd, ranks: [65], rate: 1e9, latency: 1ms, bandwidth: 1MB}\n"
      "  - {label: busy, ranks: [2], rate: 1e9, latency: 1ms, bandwidth: 1GB, contention: 0.5}\n"
      "  - {label: deep, ranks: [2], rate: 1e9, latency: 1ms, bandwidth: 1GB, depth: 3}\n"
      "limits: {memory: 10KB}\n");
  EXPECT_EQ(rehearse(config), 1);
  for (const char* reason :
       {"65 ranks, at most 64 are rehearsed", "contention cannot be acted out",
        "depth 3: ranks have room for 2 blocks", "none of 3 was run to its end"}) {
    EXPECT_THAT(out(), HasSubstr(reason));
  }
}

// A rate above that of any processor.
TEST_F(Rehearsals, TellOfStepsThatTookLongerThanTheRateSays) {
  const auto config = write_config(
      "[ring]", "clusters: [{label: fast, ranks: [2], rate: 1e15, latency: 1us, bandwidth: 1GB}]");
  EXPECT_EQ(rehearse(config, {"--passes", "1"}), 1);
  EXPECT_THAT(out(), HasSubstr("of 4 steps took longer to compute than the rate says"));
}

TEST_F(Rehearsals, NeedARing) {
  const auto config = write_config("[zero, ring]");
  EXPECT_NE(rehearse(config), 0);
  EXPECT_THAT(err(), HasSubstr("nothing to rehearse, expected a ring with transport mpi"));
  EXPECT_FALSE(std::filesystem::exists(results_folder()));
}

TEST_F(Rehearsals, OverMpiBeginWithTwoRanksThatAreMeasured) {
  if (mpi_library().empty()) GTEST_SKIP() << kNoMpi;
  const auto config =
      write_config("[ring: {ranks: 2, transport: mpi}]", "measure: {min_time: 1ms}", "[301]");
  ASSERT_EQ(rehearse(config, {"--passes", "2"}, mpi_environment()), 0) << err() << out();
  const auto measured = table("rehearsal.csv");
  ASSERT_EQ(measured.size(), 1u);
  EXPECT_EQ(measured[0].at("transport"), "mpi");
  EXPECT_EQ(measured[0].at("passes"), "2");
  EXPECT_GT(std::stod(measured[0].at("measured_least_s")), 0);
  // What was found is an entry that a plan takes.
  const std::string said = out();
  const size_t at = said.find("clusters:\n"), end = said.find("\n\n", at);
  ASSERT_NE(at, said.npos);
  const auto again = write_config("[ring]", said.substr(at, end - at) + "\n");
  ASSERT_EQ(call(kProgram, {"plan", again.string(), "--json"}), 0) << err();
  EXPECT_THAT(out(), HasSubstr("this machine, 1 thread a rank"));
}

}  // namespace
}  // namespace longattn
