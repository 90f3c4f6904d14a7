#include "experiments/judge/pareto.h"

#include <gtest/gtest.h>

namespace longattn {
namespace {

Estimate at(double value, double half = 0) { return {value, value - half, value + half}; }

TEST(Pareto, KeepsWhatNothingElseIsBetterThanInAll) {
  const std::vector<Costs> all = {{at(0), at(9)}, {at(1), at(4)}, {at(2), at(5)}, {at(3), at(1)}};
  EXPECT_EQ(pareto(all), (std::vector<Standing>{Standing::front, Standing::front,
                                                Standing::dominated, Standing::front}));
}

TEST(Pareto, SaysTiedWhereIntervalsOverlap) {
  const std::vector<Costs> all = {{at(1, 0.1), at(4, 0.5)}, {at(1.05, 0.1), at(4.2, 0.5)}};
  EXPECT_EQ(pareto(all), (std::vector<Standing>{Standing::front, Standing::tied}));
  // Apart in one respect: dominated, though the other is within the intervals.
  const std::vector<Costs> apart = {{at(1, 0.1), at(4, 0.5)}, {at(2, 0.1), at(4.2, 0.5)}};
  EXPECT_EQ(pareto(apart)[1], Standing::dominated);
}

TEST(Pareto, OfEqualsKeepsBoth) {
  const std::vector<Costs> all = {{at(1), at(2)}, {at(1), at(2)}};
  EXPECT_EQ(pareto(all), (std::vector<Standing>{Standing::front, Standing::front}));
}

TEST(Pareto, LooksAtEveryRespect) {
  const std::vector<Costs> all = {{at(1), at(1), at(2)}, {at(2), at(2), at(1)}};
  EXPECT_EQ(pareto(all), (std::vector<Standing>{Standing::front, Standing::front}));
}

}  // namespace
}  // namespace longattn
