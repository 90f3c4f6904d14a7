#include "experiments/report/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "experiments/report/csv.h"
#include "experiments/report/tables.h"
#include "experiments/serialize.h"
#include "tests/experiments/report_fixture.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

TEST(Report, KeepsHostileTextOutOfThePageAndTheTerminal) {
  const TemporaryFolder folder;
  const RunResults results = testing::hostile_results();
  write_report(results, folder.path());
  std::stringstream page;
  page << std::ifstream(folder / "report.html").rdbuf();
  EXPECT_NE(page.str().find("&lt;script&gt;alert(1)"), std::string::npos);
  EXPECT_EQ(page.str().find("<script>alert(1)"), std::string::npos);
  EXPECT_EQ(terminal_table(results).find('\x1b'), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(folder / "results.csv"));
}

TEST(Report, PutsARemarkBesideEveryFigure) {
  RunResults results = testing::realistic_results();
  for (CellResult& result : results.cells) {
    if (result.cell.variant == "longformer") result.cell.remark = "untrained";
  }
  std::string table = terminal_table(results);
  for (size_t at; (at = table.find("\n  ")) != std::string::npos;) table.replace(at, 3, " ");
  EXPECT_NE(table.find("untrained longformer window=64"), std::string::npos) << table;
  for (size_t at = table.find("longf"); at != std::string::npos; at = table.find("longf", at + 1)) {
    const std::string before = table.substr(std::max<size_t>(at, 10) - 10, 10);
    if (before == "upported: ") continue;  // a reason, which has no figure
    EXPECT_EQ(before, "untrained ") << table;
  }
  const ResultTable rows = result_table(results);
  const auto column = std::ranges::find(rows.columns, "remark") - rows.columns.begin();
  for (size_t n = 0; n < results.cells.size(); ++n) {
    const bool remarked = results.cells[n].cell.variant == "longformer";
    EXPECT_EQ(rows.rows[n].at(static_cast<size_t>(column)),
              remarked ? Field(std::string("untrained")) : Field());
    const Cell read = cell_from_json(to_json(results.cells[n].cell));
    EXPECT_EQ(read.remark, remarked ? "untrained" : "");
  }
}

}  // namespace
}  // namespace longattn
