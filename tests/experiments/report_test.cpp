#include "experiments/report/report.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "experiments/report/tables.h"
#include "tests/experiments/report_fixture.h"

namespace longattn {
namespace {

TEST(Report, KeepsHostileTextOutOfThePageAndTheTerminal) {
  std::string folder = (std::filesystem::temp_directory_path() / "longattn-report-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const RunResults results = testing::hostile_results();
  write_report(results, folder);
  std::stringstream page;
  page << std::ifstream(folder + "/report.html").rdbuf();
  EXPECT_NE(page.str().find("&lt;script&gt;alert(1)"), std::string::npos);
  EXPECT_EQ(page.str().find("<script>alert(1)"), std::string::npos);
  EXPECT_EQ(terminal_table(results).find('\x1b'), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(folder + "/results.csv"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace longattn
