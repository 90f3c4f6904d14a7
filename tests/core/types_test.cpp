#include "core/types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Problem small_problem() {
  Problem p;
  p.query_len = 3;
  p.key_len = 5;
  return p;
}

TEST(DTypes, HaveNamesAndSizes) {
  for (DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
    EXPECT_EQ(dtype_from_string(to_string(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_string("float64"), std::nullopt);
  EXPECT_EQ(byte_size(DType::float32), 4);
  EXPECT_EQ(byte_size(DType::bfloat16), 2);
  EXPECT_EQ(byte_size(DType::float16), 2);
}

TEST(Problem, ScaleDefaultsToOneOverTheRootOfHeadDim) {
  Problem p = small_problem();
  p.head_dim = 16;
  EXPECT_EQ(p.effective_scale(), 0.25);
  p.scale = 0;
  EXPECT_EQ(p.effective_scale(), 0);
}

TEST(Problem, QueryHeadsShareKeyHeadsInOrder) {
  Problem p = small_problem();
  p.num_heads = 6;
  p.num_kv_heads = 2;
  EXPECT_EQ(p.kv_head(0), 0);
  EXPECT_EQ(p.kv_head(2), 0);
  EXPECT_EQ(p.kv_head(3), 1);
  EXPECT_EQ(p.kv_head(5), 1);
}

TEST(Problem, CausalIsAlignedBottomRight) {
  Problem p = small_problem();  // 3 queries, 5 keys: query 0 is token 2
  p.mask.causal = true;
  const char* expected[] = {"11100", "11110", "11111"};
  for (Index i = 0; i < 3; ++i) {
    for (Index j = 0; j < 5; ++j) EXPECT_EQ(p.visible(0, i, j), expected[i][j] == '1');
  }
  p.query_len = 7;  // more queries than keys: the first two see nothing
  EXPECT_EQ(p.position(0), -2);
  EXPECT_FALSE(p.visible(0, 1, 0));
  EXPECT_TRUE(p.visible(0, 2, 0));
}

TEST(Problem, PaddingHidesKeysAndLeavesPositionsAlone) {
  Problem p = small_problem();
  p.batch = 2;
  p.mask.causal = true;
  p.mask.key_lengths = {5, 1};
  EXPECT_TRUE(p.visible(0, 0, 2));
  EXPECT_TRUE(p.visible(1, 0, 0));
  EXPECT_FALSE(p.visible(1, 2, 1));
}

TEST(Problem, DocumentsSeeOnlyThemselves) {
  Problem p = small_problem();
  p.batch = 2;
  p.mask.document_ids = {0, 0, 0, 1, 1, /* batch 1 */ 0, 0, 1, 1, 1};
  EXPECT_TRUE(p.visible(0, 0, 0));   // token 2, document 0
  EXPECT_FALSE(p.visible(0, 0, 3));  // document 1
  EXPECT_FALSE(p.visible(1, 0, 0));  // there, token 2 is in document 1
  p.mask.document_ids.resize(5);     // shared by the batch
  EXPECT_TRUE(p.visible(1, 0, 0));
}

TEST(Problem, AlibiIsMinusSlopeTimesDistanceBothWays) {
  Problem p = small_problem();
  p.num_heads = p.num_kv_heads = 2;
  EXPECT_EQ(p.bias(1, 0, 4), 0);
  p.mask.alibi_slopes = {0.5, 0.25};
  EXPECT_EQ(p.bias(0, 0, 0), -1);    // token 2, key 0
  EXPECT_EQ(p.bias(1, 0, 4), -0.5);  // token 2, key 4
}

TEST(Validate, AcceptsWhatIsConsistent) {
  Problem p = small_problem();
  EXPECT_NO_THROW(validate(p));
  p.query_len = p.key_len = 0;
  EXPECT_NO_THROW(validate(p));
}

TEST(Validate, NamesBothNumbersOfAContradiction) {
  const auto refuse = [](void (*change)(Problem&), const char* message) {
    Problem p = small_problem();
    change(p);
    EXPECT_THAT([&] { validate(p); }, ThrowsMessage<ProblemError>(HasSubstr(message)));
  };
  refuse([](Problem& p) { p.batch = 0; }, "batch is 0, must be at least 1");
  refuse([](Problem& p) { p.query_len = -1; }, "query_len is -1, must be at least 0");
  refuse([](Problem& p) { p.head_dim = 0; }, "head_dim is 0");
  refuse([](Problem& p) { p.value_dim = 0; }, "value_dim is 0");
  refuse([](Problem& p) { p.num_heads = 6, p.num_kv_heads = 4; },
         "num_heads 6 is not a multiple of num_kv_heads 4");
  refuse([](Problem& p) { p.mask.key_lengths = {1, 2}; }, "key_lengths has 2 entries, batch is 1");
  refuse([](Problem& p) { p.mask.key_lengths = {6}; }, "key_lengths[0] is 6, must be in 0..5");
  refuse([](Problem& p) { p.mask.key_lengths = {-1}; }, "key_lengths[0] is -1");
  refuse([](Problem& p) { p.mask.document_ids = {1, 2}; }, "document_ids has 2 entries");
  refuse(
      [](Problem& p) {
        p.query_len = 6, p.mask.document_ids = {1, 1, 1, 1, 1};
      },
      "query_len <= key_len");
  refuse([](Problem& p) { p.mask.alibi_slopes = {1}; }, "alibi_slopes has 1 entries");
  refuse([](Problem& p) { p.mask.alibi_slopes.assign(8, NAN); }, "is not finite");
  refuse([](Problem& p) { p.scale = INFINITY; }, "is not finite");
  refuse([](Problem& p) { p.key_len = std::numeric_limits<Index>::max() / 64; },
         "keys: the tensor has more than 2^63 bytes");
}

}  // namespace
}  // namespace longattn
