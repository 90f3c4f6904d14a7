#include "experiments/report/report.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "experiments/report/tables.h"
#include "tests/experiments/report_fixture.h"

namespace longattn {
namespace {

TEST(Scratch, Scratch) {
  for (const auto& [name, results] : {std::pair("/tmp/r2/real", testing::realistic_results()),
                                      std::pair("/tmp/r2/hostile", testing::hostile_results())}) {
    std::filesystem::create_directories(name);
    print_table(results, stdout);
    write_report(results, name);
  }
}

}  // namespace
}  // namespace longattn
