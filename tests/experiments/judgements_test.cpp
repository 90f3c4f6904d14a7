#include "experiments/report/judgements.h"

#include <gmock/gmock.h>

#include "experiments/cell.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Three lengths; full n^2, fast n, slow 4 n^2: fast passes full between 1,024 and 2,048.
RunResults three_lengths() {
  RunResults results;
  const auto add = [&](const char* variant, Index length, double seconds, double bytes,
                       double error) {
    CellResult result;
    result.cell.variant = variant;
    result.cell.input.label = "in";
    result.cell.problem.query_len = result.cell.problem.key_len = length;
    result.time_s = Estimate{seconds, 0.95 * seconds, 1.05 * seconds};
    result.workspace_bytes = bytes;
    result.relative_error = Estimate{error, 0.9 * error, 1.1 * error};
    result.mean_value_error = 0.8;
    result.declared_exact = error == 0;
    results.cells.push_back(result);
  };
  for (Index length : {512, 1024, 2048}) {
    const auto n = static_cast<double>(length) / 1448.15;  // where fast and full are equal
    add("full", length, n * n, 4 * n * n, 0);
    add("fast", length, n, 4, 0.05);
    add("slow", length, 4 * n * n, 5 * n * n, 0.9);
  }
  return results;
}

TEST(Judgements, TellTheCheapestWayToAnError) {
  const RunResults results = three_lengths();
  const std::string text = equal_error_sentence(arrange(results)[0]);
  // fast has 0.05 +- 10 %: within 10 % and 30 %, not within 3 % and 1 %.
  EXPECT_THAT(text, HasSubstr("at 2,048 tokens to a relative error of at most 10 %: fast"));
  EXPECT_THAT(text, HasSubstr("; 1 %: full"));
  EXPECT_THAT(text, Not(HasSubstr("slow")));
}

TEST(Judgements, TellWhatIsAsCheapWithinTheIntervals) {
  RunResults results = three_lengths();
  for (const double factor : {1.05, 1.2}) {
    CellResult other = results.cells[6];  // full at the longest
    other.cell.variant = factor < 1.1 ? "alike" : "dearer";
    for (double* seconds : {&other.time_s->value, &other.time_s->low, &other.time_s->high}) {
      *seconds *= factor;
    }
    results.cells.push_back(other);
  }
  EXPECT_THAT(equal_error_sentence(arrange(results)[0]),
              HasSubstr("; 1 %: full (2.00 s ±5.0%, tied with alike)."));
}

TEST(Judgements, TellFromWhichLengthOnAVariantIsFaster) {
  const RunResults results = three_lengths();
  const std::vector<std::string> sentences = crossover_sentences(arrange(results)[0]);
  ASSERT_EQ(sentences.size(), 3u);
  EXPECT_EQ(sentences[0],
            "Faster than full: from about so many tokens on fast, 1,448 (1,024 to 2,048); never in "
            "the measured range slow.");
  EXPECT_THAT(sentences[1],
              HasSubstr("Less workspace than full: from about so many tokens on fast"));
}

TEST(Judgements, TellFromWhichLengthOnAVariantIsFasterWithinTheErrorBudget) {
  RunResults results = three_lengths();
  const auto sentence = [&] { return crossover_sentences(arrange(results)[0]).back(); };
  EXPECT_EQ(
      sentence(),
      "Faster than full with a relative error of at most 1 %: never in the measured range fast, "
      "slow.");
  results.error_budget = 0.06;
  EXPECT_EQ(
      sentence(),
      "Faster than full with a relative error of at most 6 %: from about so many tokens on fast, "
      "1,448 (1,024 to 2,048); never in the measured range slow.");
  results.cells[4].relative_error->high =
      0.07;  // fast at 1,024 tokens: a length that does not count
  EXPECT_EQ(
      sentence(),
      "Faster than full with a relative error of at most 6 %: from about so many tokens on fast, "
      "2,048 at most; never in the measured range slow.");
  results.cells[7].relative_error->high = 0.07;  // and at the longest
  EXPECT_EQ(
      sentence(),
      "Faster than full with a relative error of at most 6 %: never in the measured range fast, "
      "slow.");
}

TEST(Judgements, NameWhatIsNoBetterThanTheMean) {
  const RunResults results = three_lengths();
  const std::string text = useless_sentence(arrange(results)[0]);
  EXPECT_THAT(text, HasSubstr("0.800"));
  EXPECT_THAT(text, HasSubstr("slow (0.900)"));
  EXPECT_THAT(text, Not(HasSubstr("fast")));
}

// Where all values are alike the mean is exact, and so is what differs from it by rounding.
TEST(Judgements, FindNothingWrongWithRoundingBesideAnExactMean) {
  RunResults results = three_lengths();
  for (CellResult& cell : results.cells) {
    if (cell.mean_value_error) cell.mean_value_error = 0;
    if (cell.relative_error) cell.relative_error = Estimate{1e-16, 1e-16, 2e-16};
    cell.relative_error_floor = 1e-6;
  }
  EXPECT_EQ(useless_sentence(arrange(results)[0]), "");
}

TEST(Judgements, NameWhatIsOffTheParetoFront) {
  const RunResults results = three_lengths();
  const std::string text = pareto_sentence(arrange(results)[0]);
  EXPECT_THAT(text, HasSubstr("somewhere better than slow; than none of the other 2"));
}

// Two settings that differ within their intervals are tied, at the length where they do.
TEST(Judgements, ListTheParetoFrontByLength) {
  RunResults results = three_lengths();
  CellResult twin = results.cells[7];  // fast at 2,048, by the values a little worse
  twin.cell.variant = "twin";
  twin.time_s->value *= 1.01;
  results.cells.push_back(twin);
  const Block block = arrange(results)[0];
  const TextTable table = pareto_overview(block);
  using ::testing::ElementsAre;
  EXPECT_THAT(table.heads, ElementsAre("variant", "512", "1,024", "2,048"));
  ASSERT_EQ(table.rows.size(), 4u);
  EXPECT_THAT(table.rows[0], ElementsAre("full", "front", "front", "front"));
  EXPECT_THAT(table.rows[1], ElementsAre("fast", "beaten", "beaten", "front"));
  EXPECT_THAT(table.rows[2], ElementsAre("slow", "beaten", "beaten", "beaten"));
  EXPECT_THAT(table.rows[3], ElementsAre("twin", "–", "–", "tied"));
}

}  // namespace
}  // namespace longattn
