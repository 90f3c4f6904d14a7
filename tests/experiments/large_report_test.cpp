// Runs of more cells than a page has room for.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>

#include "experiments/report/findings.h"
#include "experiments/report/judgements.h"
#include "experiments/report/page_part.h"
#include "experiments/report/report.h"
#include "tests/experiments/report_fixture.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

std::string slurp(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

Index count(const std::string& text, const std::string& part) {
  Index found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(LargeReport, OfFiveThousandRowsStaysBelowTwoMegabytesAndLeavesTheRestToItsFiles) {
  struct Shape {
    Index inputs, settings, lengths;
  };
  for (const auto& [inputs, settings, lengths] :
       {Shape{1, 2, 2500}, Shape{1, 1000, 5}, Shape{5, 20, 50}, Shape{2500, 2, 1}}) {
    SCOPED_TRACE(fmt::format("{} inputs, {} settings, {} lengths", inputs, settings, lengths));
    RunResults results = testing::many_results(inputs, settings, lengths);
    for (size_t n = 0; n < results.cells.size(); n += 3) {
      CellResult& failed = results.cells[n];
      failed.status = Status::crash;
      failed.reason = "ended by signal 11 (Segmentation fault)";
      failed.log = std::string(4096, 'x');
      failed.time_s.reset();
      failed.round_seconds.clear();
    }
    const TemporaryFolder folder;
    write_report(results, folder.path());
    const std::string page = slurp(folder / "report.html");
    EXPECT_LT(page.size(), 2'000'000u);
    EXPECT_THAT(page, HasSubstr("of 5,000 rows"));
    EXPECT_THAT(page, HasSubstr("href=\"results.csv\""));
    EXPECT_THAT(page, Not(HasSubstr("data:text/csv")));
    EXPECT_GT(count(page, "<tr data-cell="), 0);
    EXPECT_EQ(count(slurp(folder / "results.csv"), "\r\n"), 5001);
    EXPECT_EQ(count(slurp(folder / "results.jsonl"), "\n"), 5000);
  }
}

TEST(LargeReport, ShowsWhatAReaderNeedsOfManySettings) {
  RunResults results = testing::many_results(1, 1000, 5);
  // One that stands out by its time, and one that never came to an end at the longest length.
  results.cells[777 * 5 + 4].time_s = Estimate{1e-9, 1e-9, 1e-9};
  results.cells[6 * 5 + 4].status = Status::timeout;
  const std::vector<Block> all = arrange(results);
  const PagePart page = page_part(all);
  ASSERT_EQ(page.blocks.size(), 1u);
  EXPECT_LE(page.rows, kPageRows);
  EXPECT_EQ(page.all_rows, 5000u);
  const Block& part = page.blocks[0];
  EXPECT_EQ(part.series.size(), kCurves);
  EXPECT_EQ(part_text(part), "24 of 1,000 settings");
  std::set<std::string> variants, labels;
  for (const Series& series : part.series) {
    variants.insert(series.variant);
    labels.insert(series.label);
    EXPECT_EQ(whole(series).label, series.label);
    EXPECT_EQ(whole(series).cells.size(), 5u);
  }
  EXPECT_EQ(variants.size(), 5u);
  EXPECT_THAT(labels, Contains(HasSubstr("seed=777"))) << "it is on the front";
  for (const SeriesStanding& one : standings(part, part.longest())) {
    const auto of_all = standings(all[0], part.longest());
    const auto same = std::ranges::find(of_all, one.result, &SeriesStanding::result);
    ASSERT_NE(same, of_all.end());
    EXPECT_EQ(one.standing, same->standing) << "among all, not among those shown";
  }
}

TEST(LargeReport, ShowsLengthsInEqualStepsAndTheLongestWithAResult) {
  RunResults results = testing::many_results(1, 2, 2500);
  for (size_t n = 2001; n < 2500; ++n) results.cells[n].status = Status::oom;  // of full
  const std::vector<Block> all = arrange(results);
  const Block part = part_of(all[0], 2, 10);
  EXPECT_EQ(part.lengths.front(), 64);
  EXPECT_EQ(part.lengths.back(), 2563);
  EXPECT_EQ(part_text(part), "11 of 2,500 lengths");
  EXPECT_THAT(part.lengths, Contains(64 + 2000)) << "the longest of full";
  for (size_t n = 1; n + 1 < part.lengths.size(); ++n) {
    const auto before = static_cast<double>(part.lengths[n - 1]);
    const double step = static_cast<double>(part.lengths[n]) / before;
    EXPECT_LT(step, 1.02 * std::pow(2563. / 64, 1. / 9)) << "one more token at most";
  }
  ASSERT_EQ(part.series.size(), 2u);
  EXPECT_EQ(part.series[0].cells.size(), 11u);
  EXPECT_EQ(part.series[1].cells.size(), 10u);
  ASSERT_EQ(part.inputs.size(), 11u);
}

// What looks alike cannot be told apart, and gnuplot takes minutes for a thousand.
TEST(LargeReport, DrawsNoMoreCurvesThanThereAreLooks) {
  RunResults results = testing::many_results(1, 300, 1);
  const TemporaryFolder folder;
  write_report(results, folder.path());
  const std::string script = slurp(folder / "plots/time.gp");
  EXPECT_LE(count(script, "title key("), static_cast<Index>(kCurves));
  EXPECT_GT(count(script, "title key("), 15);
  const std::string page = slurp(folder / "report.html");
  EXPECT_THAT(page, HasSubstr("Drawn: 24 of 300 settings; all are in results.csv."));
  EXPECT_EQ(count(page, "<tr data-cell="), 300 + 200) << "of errors: all but the exact ones";
}

TEST(LargeReport, NamesTheFirstOfManyInASentenceAndSaysHowManyMore) {
  const RunResults results = testing::many_results(1, 300, 6);
  for (const Finding& finding : findings(arrange(results).front())) {
    EXPECT_LT(finding.text.size(), 4000u) << finding.text;
    EXPECT_LE(count(finding.text, "seed="), 80) << finding.text;
  }
}

TEST(LargeReport, LabelsACellByTheOptionsInWhichItsVariantDiffers) {
  const auto cell = [](const std::string& variant, const std::string& a, const std::string& b) {
    CellResult result;
    result.cell.variant = variant;
    result.cell.options = {{"a", a}, {"b", b}};
    return result;
  };
  std::vector<CellResult> cells = {cell("x", "1", "1"), cell("x", "1", "2"), cell("y", "2", "1")};
  cells.push_back(cell("x", "1", "2"));
  cells.back().cell.options.emplace_back("c", "3");
  cells.back().cell.remark = "untrained";
  const ShortLabels labels(cells);
  EXPECT_EQ(labels.of(cells[0].cell), "x b=1");
  EXPECT_EQ(labels.of(cells[1].cell), "x b=2");
  EXPECT_EQ(labels.of(cells[2].cell), "y");
  EXPECT_EQ(labels.of(cells[3].cell), "untrained x b=2 c=3");
  EXPECT_EQ(labels.of(cell("x", "4", "1").cell), "x a=4 b=1") << "none of those added";
}

}  // namespace
}  // namespace longattn
