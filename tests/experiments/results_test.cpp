#include "experiments/results.h"

#include <gtest/gtest.h>

namespace longattn {
namespace {

CellResult judged(const char* variant, const char* option, const char* value, double error) {
  CellResult result;
  result.cell.variant = variant;
  result.cell.options = {{option, value}};
  result.cell.input.label = "in";
  result.sampled_rows = 64;
  result.relative_error = Estimate{error, error, error};
  return result;
}

// A low-rank method is read against the nearest weights of the same rank on the same problem.
TEST(Results, OfALowRankMethodAreReadAgainstTheBestOfItsRank) {
  RunResults results;
  results.cells = {
      judged("linformer", "projected_len", "64", 0.5), judged("low_rank_oracle", "k", "32", 0.4),
      judged("low_rank_oracle", "k", "64", 0.3), judged("low_rank_oracle", "k", "64", 0.2),
      judged("longformer", "window", "64", 0.1)};
  results.cells[3].cell.problem.key_len = 100;  // another problem
  finish_results(results);
  ASSERT_TRUE(results.cells[0].oracle_error.has_value());
  EXPECT_EQ(*results.cells[0].oracle_error, 0.3);
  for (size_t n = 1; n < 5; ++n) EXPECT_FALSE(results.cells[n].oracle_error.has_value()) << n;

  for (const auto& spoil :
       {+[](Cell& c) { c.input.label = "other"; }, +[](Cell& c) { c.input_hash = "other"; },
        +[](Cell& c) { c.options[0].second = "65"; }}) {
    RunResults others = results;
    others.cells[0].oracle_error.reset();
    spoil(others.cells[2].cell);
    finish_results(others);
    EXPECT_FALSE(others.cells[0].oracle_error.has_value());
  }
}

}  // namespace
}  // namespace longattn
