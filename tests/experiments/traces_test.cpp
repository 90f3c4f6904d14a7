#include "experiments/inputs/traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/io/safetensors.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class Traces : public ::testing::Test {
 protected:
  void add(const std::string& name, ElementType type, std::vector<Index> shape) {
    tensors_.push_back({name, type, shape, {}});
    Index bytes = byte_size(type);
    for (Index length : shape) bytes *= length;
    tensors_.back().bytes = std::span(zeros_).first(static_cast<size_t>(bytes));
  }
  void add_layer(Index layer, ElementType type = ElementType::bfloat16) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    add(prefix + "queries", type, {4, 3, 2});
    add(prefix + "keys", type, {2, 5, 2});
    add(prefix + "values", type, {2, 5, 6});
  }
  Trace read(Index layer, const SafetensorsMetadata& metadata = {}) {
    write_safetensors(folder_ / "t.safetensors", tensors_, metadata);
    return read_trace(folder_ / "t.safetensors", layer);
  }
  void refuse(Index layer, const char* message, const SafetensorsMetadata& metadata = {}) {
    EXPECT_THAT([&] { read(layer, metadata); },
                ThrowsMessage<DataError>(HasSubstr((folder_ / "t.safetensors: ") + message)));
  }

  std::vector<std::byte> zeros_ = std::vector<std::byte>(4096);
  std::vector<SafetensorsTensor> tensors_;
  TemporaryFolder folder_;
};

TEST_F(Traces, OneLayerIsReadAsItIsStored) {
  add_layer(0);
  add_layer(12);
  const Trace trace = read(12);
  EXPECT_EQ(trace.queries.shape(), (std::array<Index, 4>{1, 4, 3, 2}));
  EXPECT_EQ(trace.keys.shape(), (std::array<Index, 4>{1, 2, 5, 2}));
  EXPECT_EQ(trace.values.shape(), (std::array<Index, 4>{1, 2, 5, 6}));
  EXPECT_EQ(trace.queries.dtype(), DType::bfloat16);
  EXPECT_EQ(trace.axes, 3);
  EXPECT_TRUE(trace.extra.empty());
  EXPECT_FALSE(trace.rounded);
  EXPECT_EQ(trace.scale, std::nullopt);
  EXPECT_EQ(trace.causal, std::nullopt);
}

TEST_F(Traces, MetadataIsReadOrRefused) {
  add_layer(0);
  const Trace trace = read(0, {{"scale", "0.125"}, {"causal", "true"}, {"model", "any"}});
  EXPECT_EQ(trace.scale, 0.125);
  EXPECT_EQ(trace.causal, true);
  EXPECT_EQ(read(0, {{"causal", "False"}}).causal, false);
  for (const char* text : {"", "x", "0.5 ", "nan", "inf", "0,5", "1e999"}) {
    refuse(0, "metadata 'scale', expected a number", {{"scale", text}});
  }
  refuse(0, "metadata 'causal', expected true or false, found 'yes'", {{"causal", "yes"}});
}

TEST_F(Traces, MixedTypesAreWidenedAndFloat64IsReported) {
  add("layers.0.queries", ElementType::float64, {4, 3, 2});
  add("layers.0.keys", ElementType::bfloat16, {2, 5, 2});
  add("layers.0.values", ElementType::float16, {2, 5, 6});
  const Trace trace = read(0);
  for (const Tensor* tensor : {&trace.queries, &trace.keys, &trace.values}) {
    EXPECT_EQ(tensor->dtype(), DType::float32);
  }
  EXPECT_TRUE(trace.rounded);
}

TEST_F(Traces, OtherFloatingTensorsOfTheLayerAreExtra) {
  add_layer(0);
  add("layers.0.global_queries", ElementType::bfloat16, {4, 3, 2});
  add("layers.0.ids", ElementType::int64, {4, 3, 2});
  add("layers.0.bias", ElementType::float32, {4});
  add("layers.1.global_keys", ElementType::bfloat16, {4, 3, 2});
  const Trace trace = read(0);
  ASSERT_EQ(trace.extra.size(), 1u);
  EXPECT_EQ(trace.extra[0].name, "global_queries");
  EXPECT_EQ(trace.queries.dtype(), DType::bfloat16);
}

TEST_F(Traces, AMissingLayerOrTensorIsNamed) {
  refuse(0, "trace, expected tensors layers.0.queries, .keys and .values");
  add_layer(10);
  add_layer(2);
  add("layers.02.queries", ElementType::float32, {1, 1, 1});
  refuse(3, "layer, expected one of 2, 10, found 3");
  add("layers.4.queries", ElementType::float32, {1, 1, 1});
  refuse(4, "tensor 'layers.4.keys', expected in the file");
}

TEST_F(Traces, TensorsThatDoNotFitEachOtherAreRefused) {
  add("layers.0.queries", ElementType::float32, {4, 3, 2});
  add("layers.0.keys", ElementType::float32, {2, 5, 2});
  add("layers.0.values", ElementType::float32, {2, 4, 6});
  refuse(0, "layer 0: values: len 4, keys say 5");
  tensors_.pop_back();
  add("layers.0.values", ElementType::float32, {6});
  refuse(0, "tensor 'layers.0.values': shape, expected [len, dim]");
}

TEST(ProblemOf, TakesItsSizesFromTheTensors) {
  const Problem p = problem_of(Tensor({2, 6, 3, 4}), Tensor({2, 2, 5, 4}), Tensor({2, 2, 5, 7}));
  EXPECT_EQ(p.batch, 2);
  EXPECT_EQ(p.num_heads, 6);
  EXPECT_EQ(p.num_kv_heads, 2);
  EXPECT_EQ(p.query_len, 3);
  EXPECT_EQ(p.key_len, 5);
  EXPECT_EQ(p.head_dim, 4);
  EXPECT_EQ(p.value_dim, 7);
}

}  // namespace
}  // namespace longattn
