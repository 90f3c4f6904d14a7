#include "experiments/report/growth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/variant.h"
#include "experiments/report/tables.h"
#include "experiments/results.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr Index kRounds = 7;

// Adds a variant whose time is n^p microseconds and whose workspace n^q bytes, at these lengths.
void add_variant(const std::string& name, double p, double q, Growth declared,
                 const std::vector<Index>& lengths, RunResults& results, Index rounds = kRounds) {
  for (const Index length : lengths) {
    const auto n = static_cast<double>(length);
    CellResult result;
    result.cell.variant = name;
    result.cell.id = name + std::to_string(length);
    result.cell.input.label = "made up";
    result.cell.problem.query_len = result.cell.problem.key_len = length;
    for (Index r = 0; r < rounds; ++r) {
      // Slopes p + r / 1000, as the lengths are powers of 2: exactly known per round.
      result.round_seconds.push_back(1e-6 * std::pow(n, p + static_cast<double>(r) / 1000));
    }
    result.workspace_bytes = std::pow(n, q);
    result.flops = 100 * n;
    result.growth_time = declared.time;
    result.growth_memory = declared.memory;
    results.cells.push_back(result);
  }
}

const std::vector<Index> kSix = {1024, 2048, 4096, 8192, 16384, 32768};

std::string sentences_of(const RunResults& results) {
  std::string text;
  for (const Finding& finding : growth_findings(arrange(results).front())) {
    text += (finding.alarm ? "! " : "") + finding.text + "\n";
  }
  return text;
}

TEST(GrowthReport, CallsOutWhatGrowsFasterThanDeclaredAndNothingElse) {
  RunResults results;
  add_variant("honest", 2, 1, {.time = 2, .memory = 1}, kSix, results);
  add_variant("sly", 1.9, 1, {.time = 1, .memory = 1}, kSix, results);
  add_variant("fat", 1, 2, {.time = 1, .memory = 1.5}, kSix, results);
  add_variant("modest", 1, 0, {.time = 3, .memory = 2}, kSix, results);
  EXPECT_EQ(
      sentences_of(results),
      "! sly declares O(n) time, measures n^1.90 [1.90, 1.91] from 8,192 to 32,768 tokens: it "
      "grows faster than declared; its operations by prediction as n^1.00.\n"
      "! fat declares O(n^1.5) workspace, measures n^2.00 from 8,192 to 32,768 tokens: it grows "
      "faster than declared.\n"
      "6 of 8 judged growths of time and workspace over the last two doublings are at most as "
      "declared (exponent no more than 0.15 above it).\n");
  const std::string table = terminal_table(results);
  EXPECT_THAT(table, HasSubstr("time faster"));
  EXPECT_THAT(table, HasSubstr("workspace faster"));
  EXPECT_THAT(table, Not(HasSubstr("power law")));
  const std::string page = growth_html(arrange(results).front());
  EXPECT_THAT(page, HasSubstr("<tr class=\"bad\"><td class=\"text\">sly</td>"));
  EXPECT_THAT(page, HasSubstr("<tr><td class=\"text\">honest</td>"));
}

TEST(GrowthReport, SaysWhyThereIsNoVerdict) {
  RunResults results;
  add_variant("short", 1, 1, {}, {512, 1024, 2048}, results);
  EXPECT_EQ(sentences_of(results), "No growth is fitted: 3 lengths, a growth needs at least 5.\n");
  EXPECT_THAT(terminal_table(results), Not(HasSubstr("growth n^p")));
  add_variant("hasty", 1, 1, {.time = 1, .memory = 1}, kSix, results, 2);
  add_variant("rash", 1, 1, {.time = 1, .memory = 1}, kSix, results, 2);
  const std::string text = sentences_of(results);
  EXPECT_THAT(text, HasSubstr("\nNo verdict on the growth of short (time), short (workspace): 3 "
                              "lengths, a growth needs at least 5; nor of hasty (time), rash "
                              "(time): 2 rounds, a verdict needs at least 5.\n"));
}

// A cell that failed has no say, whatever it still measured.
TEST(GrowthReport, LeavesOutCellsThatFailed) {
  RunResults results;
  add_variant("honest", 1, 1, {.time = 1, .memory = 1}, kSix, results);
  CellResult& last = results.cells.back();
  last.status = Status::timeout;
  last.round_seconds = {100};
  const MeasuredGrowth time = growths(arrange(results).front()).front().time;
  EXPECT_EQ(time.scaling.lengths, 5);
  EXPECT_EQ(time.scaling.rounds, kRounds);
  EXPECT_EQ(time.verdict, GrowthVerdict::holds);
}

TEST(GrowthReport, FileHasEverySlopeWithItsInterval) {
  RunResults results;
  add_variant("honest", 2, 1, {.time = 2, .memory = 1}, kSix, results);
  const ResultTable table = scaling_table(results);
  ASSERT_EQ(table.rows.size(), 2u * (1 + 1 + 5));
  const auto field = [&](size_t row, const std::string& column) {
    const auto at = std::ranges::find(table.columns, column) - table.columns.begin();
    return table.rows[row].at(static_cast<size_t>(at));
  };
  for (const auto& row : table.rows) EXPECT_EQ(row.size(), table.columns.size());
  EXPECT_EQ(field(0, "span"), Field(std::string("all")));
  EXPECT_NEAR(std::get<double>(field(0, "exponent")), 2.003, 1e-9);
  EXPECT_NEAR(std::get<double>(field(0, "exponent_low")), 2, 1e-9);
  EXPECT_NEAR(std::get<double>(field(0, "exponent_high")), 2.006, 1e-9);
  EXPECT_EQ(field(0, "power_law"), Field(true));
  EXPECT_EQ(field(1, "span"), Field(std::string("last_two_doublings")));
  EXPECT_EQ(field(1, "from_len"), Field(Index{8192}));
  EXPECT_EQ(field(1, "lengths"), Field(Index{3}));
  EXPECT_EQ(field(1, "verdict"), Field(std::string("holds")));
  EXPECT_EQ(field(6, "to_len"), Field(Index{32768}));
  EXPECT_EQ(field(7, "cost"), Field(std::string("workspace")));
  EXPECT_EQ(field(7, "exponent_low"), Field()) << "counted: no interval";
}

// What is counted is the same in every run: this variant takes the whole matrix of scores.
TEST(GrowthReport, OfARealVariantThatUnderstatesIsCalledOut) {
  const TemporaryFolder folder;
  std::ofstream(folder / "config.yaml")
      << "longattn: 1\nname: understates\nthreads: 1\ninputs: [{gaussian: {}}]\n"
         "problem: {lengths: [128, 256, 512, 1024, 2048], num_heads: 1, head_dim: 8}\n"
         "variants: [full, understates]\n"
         "measure: {rounds: 1, min_time: 1ms, error: false, patterns: false}\n";
  const std::string command = std::string(LONGATTN_FAULTY_PROGRAM) + " run '" +
                              (folder / "config.yaml") + "' --output '" + (folder / "run") +
                              "' >'" + (folder / "table") + "' 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::stringstream table, csv;
  table << std::ifstream(folder / "table").rdbuf();
  csv << std::ifstream(folder / "run/scaling.csv").rdbuf();
  EXPECT_THAT(table.str(), HasSubstr("understates declares O(n) workspace, measures n^"));
  EXPECT_THAT(table.str(), HasSubstr("from 512 to 2,048 tokens"));
  EXPECT_THAT(table.str(), Not(HasSubstr("full declares")));
  EXPECT_THAT(csv.str(), HasSubstr(",faster,"));
}

}  // namespace
}  // namespace longattn
