#include "core/parameter_count.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace longattn {
namespace {

TEST(ParameterCount, OfGpt3IsTheKnownTable) {
  const ParameterTable table = count_parameters({});
  const std::vector<std::pair<std::string, Index>> expected = {
      {"Embedding", 617'558'016},
      {"Key", 14'495'514'624},
      {"Query", 14'495'514'624},
      {"Value (down)", 14'495'514'624},
      {"Output (value up)", 14'495'514'624},
      {"Up-projection", 57'982'058'496},
      {"Down-projection", 57'982'058'496},
      {"Unembedding", 617'558'016}};
  ASSERT_EQ(table.rows.size(), expected.size());
  for (size_t n = 0; n < expected.size(); ++n) {
    EXPECT_EQ(table.rows[n].part, expected[n].first);
    EXPECT_EQ(table.rows[n].parameters, expected[n].second);
  }
  EXPECT_EQ(table.total, 175'181'291'520);
  EXPECT_EQ(table.matrices, 27'938);
  EXPECT_EQ(table.attention, 57'982'058'496);
}

TEST(ParameterCount, CountsKeysAndValuesOnceAKvHead) {
  ModelShape shape;
  shape.num_kv_heads = 8;
  const ParameterTable table = count_parameters(shape);
  EXPECT_EQ(table.rows[1].parameters, 14'495'514'624 / 12);
  EXPECT_EQ(table.rows[2].parameters, 14'495'514'624);
  EXPECT_EQ(table.rows[3].parameters, 14'495'514'624 / 12);
  EXPECT_EQ(table.rows[4].parameters, 14'495'514'624);
}

TEST(ParameterCount, RefusesSizesThatAreNoneOrTooLarge) {
  ModelShape shape;
  shape.layers = 0;
  EXPECT_THROW(count_parameters(shape), ProblemError);
  shape = {};
  shape.num_kv_heads = 7;
  EXPECT_THROW(count_parameters(shape), ProblemError);
  shape = {};
  shape.vocabulary = Index{1} << 60;
  EXPECT_THROW(count_parameters(shape), ProblemError);
  shape = {};  // each part fits, the sum does not
  shape.model_dim = 1;
  shape.vocabulary = Index{1} << 62;
  EXPECT_THROW(count_parameters(shape), ProblemError);
}

}  // namespace
}  // namespace longattn
