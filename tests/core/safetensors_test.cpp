#include "core/io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/io/safetensors_header.h"
#include "tests/core/reader_testing.h"
#include "tests/fuzz/readers.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string st_file(std::string_view header, std::string_view data) {
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  return file + std::string(header) + std::string(data);
}

// A header with one entry "a".
std::string entry(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return "{\"a\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":" + std::string(shape) +
         ",\"data_offsets\":" + std::string(offsets) + "}}";
}

class Safetensors : public ::testing::Test {
 protected:
  SafetensorsFile open(const std::string& content) {
    return SafetensorsFile::open(folder_.file("a.safetensors", content));
  }
  std::string refusal(const std::string& content) {
    const std::string path = folder_.file("a.safetensors", content);
    const std::string message = data_error([&] { SafetensorsFile::open(path); });
    EXPECT_TRUE(message.starts_with(path + ": ")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_THAT(message, HasSubstr(", expected "));
    EXPECT_THAT(message, HasSubstr(", found "));
    return message;
  }
  TemporaryFolder folder_;
};

TEST_F(Safetensors, WhatIsWrittenIsReadBack) {
  const std::vector<float> floats = {1, -2, 3, 4, 5, 6};
  const std::vector<double> doubles = {0.5, -7};
  const std::vector<std::uint16_t> halves = {0x3C00, 0xC000};
  const std::string path = folder_ / "t.safetensors";
  write_safetensors(
      path,
      {{"half", ElementType::float16, {1, 2}, std::as_bytes(std::span(halves))},
       {"brain", ElementType::bfloat16, {2, 1}, std::as_bytes(std::span(halves))},
       {"wide", ElementType::float64, {1, 2}, std::as_bytes(std::span(doubles))},
       {"a \"name\" \n\u00e9", ElementType::float32, {1, 3, 2}, std::as_bytes(std::span(floats))},
       {"none", ElementType::float32, {0, 4}, {}}},
      {{"scale", "0.125"}, {"text", "\u00fc\t\"x\""}});
  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_THAT(file.metadata(), ElementsAre(Pair("scale", "0.125"), Pair("text", "\u00fc\t\"x\"")));
  ASSERT_EQ(file.entries().size(), 5u);
  const Tensor tensor = file.load("a \"name\" \n\u00e9");
  EXPECT_EQ(tensor.shape(), (std::array<Index, 4>{1, 1, 3, 2}));
  EXPECT_EQ(std::memcmp(tensor.floats(), floats.data(), 24), 0);
  EXPECT_EQ(file.load("half").dtype(), DType::float16);
  EXPECT_EQ(file.load("brain").dtype(), DType::bfloat16);
  EXPECT_EQ(file.load("none").size(), 0);
  bool rounded = false;
  EXPECT_EQ(file.load("wide", &rounded).floats()[1], -7);
  EXPECT_TRUE(rounded);
}

TEST_F(Safetensors, TheWriterSortsByElementSizeThenNameAndAlignsTo8) {
  const std::vector<std::byte> bytes(8);
  const auto part = [&](size_t count) { return std::span(bytes).first(count); };
  write_safetensors(folder_ / "t.safetensors", {{"b", ElementType::float32, {1}, part(4)},
                                                {"c", ElementType::bfloat16, {1}, part(2)},
                                                {"z", ElementType::float64, {1}, part(8)},
                                                {"a", ElementType::float32, {1}, part(4)}});
  const std::string text = read_text(folder_ / "t.safetensors", 10'000);
  std::uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  const std::string_view header = std::string_view(text).substr(8, length);
  EXPECT_EQ(header.substr(0, header.find_last_not_of(' ') + 1),
            R"({"z":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
            R"("a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
            R"("b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},)"
            R"("c":{"dtype":"BF16","shape":[1],"data_offsets":[16,18]}})");
  EXPECT_EQ(text.size(), 8 + length + 18);
}

TEST_F(Safetensors, TheWriterRefusesWhatCouldNotBeReadBack) {
  const std::vector<std::byte> bytes(4);
  const auto write = [&](const std::string& name, std::vector<Index> shape, size_t count) {
    return data_error([&] {
      write_safetensors(folder_ / "t.safetensors",
                        {{name, ElementType::float32, shape, std::span(bytes).first(count)}});
    });
  };
  EXPECT_THAT(write("\xff", {1}, 4), HasSubstr("expected UTF-8"));
  EXPECT_THAT(write("__metadata__", {1}, 4), HasSubstr("reserved"));
  EXPECT_THAT(write(std::string(5000, 'x'), {1}, 4), HasSubstr("at most 4096"));
  EXPECT_THAT(write("a", {2}, 4), HasSubstr("expected 8 bytes"));
  EXPECT_THAT(data_error([&] {
                write_safetensors(folder_ / "t.safetensors",
                                  {{"a", ElementType::float32, {1}, bytes},
                                   {"a", ElementType::float32, {1}, bytes}});
              }),
              HasSubstr("found it twice"));
  EXPECT_EQ(folder_.entries(), 0);
}

TEST_F(Safetensors, WhatTheSpecificationAllowsIsRead) {
  EXPECT_TRUE(open(st_file("{}", "")).entries().empty());
  EXPECT_TRUE(open(st_file("{}      ", "")).entries().empty());
  EXPECT_TRUE(open(st_file(R"({"__metadata__":{}})", "")).metadata().empty());
  EXPECT_EQ(open(st_file(entry("F32", "[]", "[0,4]"), "1234")).entries().at("a").shape.size(), 0u);
  EXPECT_EQ(open(st_file(entry("F32", "[0,5]", "[0,0]"), "")).entries().at("a").end,
            static_cast<Index>(8 + entry("F32", "[0,5]", "[0,0]").size()));
  // Tensors need not stand in the order of their data; an empty one may share a place.
  const SafetensorsFile file =
      open(st_file(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},)"
                   R"("e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},)"
                   R"("a":{"data_offsets":[0,2],"shape":[1],"dtype":"I16"}})",
                   "xyz"));
  std::byte last{};
  file.read(file.entries().at("b"), 0, std::span(&last, 1));
  EXPECT_EQ(last, std::byte{'z'});
}

TEST_F(Safetensors, OtherTypesAreListedButNotLoaded) {
  for (const char* dtype : {"I64", "U8", "BOOL", "F8_E4M3"}) {
    const Index size = std::string_view(dtype) == "I64" ? 8 : 1;
    const SafetensorsFile file =
        open(st_file(entry(dtype, "[1,1]", "[0," + std::to_string(size) + "]"),
                     std::string(static_cast<size_t>(size), '\1')));
    EXPECT_EQ(file.entries().at("a").dtype, dtype);
    EXPECT_THAT(data_error([&] { file.load("a"); }),
                HasSubstr(std::string("expected F64, F32, F16 or BF16, found ") + dtype));
  }
  const SafetensorsFile file = open(st_file(entry("F4", "[1,2]", "[0,1]"), "x"));
  EXPECT_EQ(file.entries().at("a").dtype, "F4");
  EXPECT_THAT(data_error([&] { file.load("b"); }), HasSubstr("tensor 'b', expected in the file"));
}

TEST_F(Safetensors, EachBrokenRuleIsRefusedInOneLine) {
  const std::string twice = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                            R"("\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})";
  const auto two = [](std::string_view first, std::string_view second) {
    return R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + std::string(first) +
           R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + std::string(second) + "}}";
  };
  std::string axes = "[1";
  for (int n = 0; n < 64; ++n) axes += ",1";
  const struct {
    std::string content;
    std::string_view message;
  } cases[] = {
      {"", "size, expected at least 8 bytes, found 0"},
      {"1234567", "found 7"},
      {st_file("{}", "").substr(0, 9), "expected at most 1 bytes (the rest of the file), found 2"},
      {std::string(8, '\xff') + "{}", "found 18446744073709551615"},
      {std::string("\0\0\0\0\0\0\0\x80", 8) + "{}", "found 9223372036854775808"},
      {st_file("", ""), "expected '{' as its first byte, found nothing"},
      {st_file(" {}", ""), "expected '{' as its first byte, found another"},
      {st_file("\xef\xbb\xbf{}", ""), "expected '{' as its first byte"},
      {st_file("[]", ""), "expected '{' as its first byte"},
      {st_file("{\"\xff\":1}", ""), "expected UTF-8, found another byte at 10"},
      {st_file("{\"\xed\xa0\x80\":1}", ""), "expected UTF-8"},
      {st_file("{\"\xc0\x80\":1}", ""), "expected UTF-8"},
      {st_file("{", ""), "header, expected JSON, found an error at byte"},
      {st_file("{}}", ""), "expected JSON"},
      {st_file("{} {}", ""), "expected JSON"},
      {st_file("{\"a\":}", ""), "expected JSON"},
      {st_file(std::string("{}\0", 3), ""), "expected JSON"},
      {st_file("{\"a\":NaN}", ""), "expected JSON"},
      {st_file("{/* */}", ""), "expected JSON"},
      {st_file("{\"a\":1}", ""), "tensor 'a', expected an object, found 1"},
      {st_file("{\"a\":null}", ""), "found null"},
      {st_file("{\"a\":[]}", ""), "found a list"},
      {st_file("{\"a\":" + std::string(100'000, '[') + "}", ""), "found a list"},
      {st_file("{\"a\":{\"dtype\":{}}}", ""), "tensor 'a' dtype, expected text, found an object"},
      {st_file("{\"a\":{\"shape\":[[1]]}}", ""), "expected integers from 0 to 2^63 - 1"},
      {st_file("{\"a\":{\"shape\":3}}", ""), "expected a list of integers, found 3"},
      {st_file("{\"a\":{\"other\":3}}", ""),
       "expected dtype, shape or data_offsets, found 'other'"},
      {st_file("{\"a\":{}}", ""), "tensor 'a' dtype, expected a value, found none"},
      {st_file("{\"a\":{\"dtype\":\"U8\"}}", ""), "shape, expected a value"},
      {st_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}", ""), "data_offsets, expected a value"},
      {st_file("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", ""),
       "expected it once, found it twice"},
      {st_file("{\"a\":{\"dtype\":\"F33\"}}", ""), "found \"F33\""},
      {st_file("{\"a\":{\"dtype\":\"f32\"}}", ""), "expected one of F64 F32"},
      {st_file(twice, "xy"), "tensor 'a', expected it once, found it twice"},
      {st_file(R"({"__metadata__":{},"__metadata__":{}})", ""), "expected it once"},
      {st_file(R"({"__metadata__":{"k":"1","k":"1"}})", ""), "expected it once"},
      {st_file(R"({"__metadata__":{"k":1}})", ""), "__metadata__ 'k', expected text, found 1"},
      {st_file(R"({"__metadata__":{"k":{}}})", ""), "expected text"},
      {st_file(R"({"__metadata__":[]})", ""), "expected an object"},
      {st_file("{\"" + std::string(4097, 'x') + "\":{}}", ""), "at most 4096 bytes, found 4097"},
      {st_file(entry("F32", "[-1]", "[0,4]"), "1234"), "found -1"},
      {st_file(entry("F32", "[1.0]", "[0,4]"), "1234"), "found 1.0"},
      {st_file(entry("F32", "[1e0]", "[0,4]"), "1234"), "found 1e0"},
      {st_file(entry("F32", "[true]", "[0,4]"), "1234"), "found true"},
      {st_file(entry("F32", "[9223372036854775808]", "[0,4]"), "1234"),
       "found 9223372036854775808"},
      {st_file(entry("F32", "[99999999999999999999]", "[0,4]"), "1234"), "found 9999999999999999"},
      {st_file(entry("F32", "[4611686018427387904,8]", "[0,4]"), "1234"), "fewer than 2^63 bits"},
      {st_file(entry("F32", "[4611686018427387904,8,0]", "[0,0]"), ""), "fewer than 2^63 bits"},
      {st_file(entry("U8", axes + "]", "[0,1]"), "1"), "at most 64 numbers"},
      {st_file(entry("F4", "[1]", "[0,1]"), "1"), "expected whole bytes, found 4 bits"},
      {st_file(entry("F32", "[1]", "[0]"), "1234"), "expected two numbers [begin, end], found 1"},
      {st_file(entry("F32", "[1]", "[0,4,4]"), "1234"), "at most 2 numbers"},
      {st_file(entry("F32", "[1]", "[4,0]"), "1234"), "expected 4 bytes (F32 [1]), found [4, 0]"},
      {st_file(entry("F32", "[1]", "[0,5]"), "12345"), "expected 4 bytes"},
      {st_file(entry("F32", "[1]", "[1,5]"), "12345"), "expected to begin at 0"},
      {st_file(entry("F32", "[1]", "[0,4]"), "123"), "data, expected 4 bytes"},
      {st_file(entry("F32", "[1]", "[0,4]"), "12345"), "found 5"},
      {st_file("{}", "x"), "data, expected 0 bytes (the end of the last tensor), found 1"},
      {st_file(two("[0,2]", "[3,5]"), "12345"), "tensor 'b' data_offsets, expected to begin at 2"},
      {st_file(two("[0,2]", "[1,3]"), "123"),
       "expected to begin at 2 (no hole, no overlap), found 1"},
      {st_file(two("[0,2]", "[0,2]"), "12"), "found 0"},
  };
  for (const auto& [content, message] : cases) {
    EXPECT_THAT(refusal(content), HasSubstr(message)) << content.substr(0, 200);
  }
}

TEST_F(Safetensors, AnOversizedHeaderIsRefusedBeforeItIsRead) {
  const std::string path = folder_.file(
      "a.safetensors",
      st_file("{}" + std::string(static_cast<size_t>(kMaxSafetensorsHeader), ' '), ""));
  const AllocationWatch watch;
  EXPECT_THAT(data_error([&] { SafetensorsFile::open(path); }),
              HasSubstr("expected at most 16777216 bytes (the limit), found 16777218"));
  EXPECT_LT(watch.largest(), 1024u);
}

TEST_F(Safetensors, TooManyTensorsAreRefused) {
  const auto header = [](size_t count) {
    std::string text = "{";
    for (size_t n = 0; n < count; ++n) {
      text += (n > 0 ? ",\"" : "\"") + std::to_string(n) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    }
    return text + "}";
  };
  EXPECT_EQ(open(st_file(header(kMaxSafetensorsTensors), "")).entries().size(),
            kMaxSafetensorsTensors);
  EXPECT_THAT(refusal(st_file(header(kMaxSafetensorsTensors + 1), "")),
              HasSubstr("number of tensors, expected at most 100000"));
}

TEST_F(Safetensors, EveryTruncationIsRefused) {
  const std::string file = st_file(
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]}})",
      "1234");
  EXPECT_EQ(open(file).entries().size(), 1u);
  for (size_t length = 0; length < file.size(); ++length) refusal(file.substr(0, length));
}

TEST_F(Safetensors, NamesInMessagesCannotReachTheTerminal) {
  EXPECT_THAT(refusal(st_file("{\"\\u001b]0;x\\u0007\\n\":1}", "")),
              HasSubstr("tensor '\\x1b]0;x\\x07\\n', expected an object"));
}

TEST_F(Safetensors, MutatedFilesAreReadOrRefusedAndNothingElse) {
  Mutations mutations;
  mutations.seeds = {st_file(R"({"__metadata__":{"scale":"0.5"},)"
                             R"("a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
                             R"("b":{"dtype":"BF16","shape":[2,1,2],"data_offsets":[8,16]}})",
                             std::string(16, '\1')),
                     st_file(entry("F64", "[2,2]", "[0,32]") + "     ", std::string(32, '\2')),
                     st_file(entry("I8", "[2,2]", "[0,4]"), "1234"),
                     st_file(R"({"e":{"dtype":"F16","shape":[0,3],"data_offsets":[0,0]}})", "")};
  mutations.tokens = {"0",           "1",
                      "9",           "-",
                      "1.5",         "18446744073709551616",
                      "[",           "]",
                      "{",           "}",
                      ",",           ":",
                      "\"",          "\\u0000",
                      "\xff",        "\n",
                      "null",        "true",
                      "F64",         "BF16",
                      "F4",          "I8",
                      "shape",       "9223372036854775807",
                      "dtype",       "data_offsets",
                      "__metadata__"};
  mutations.path = folder_ / "mutant.safetensors";
  mutations.rounds = 40'000;
  mutations.check = [&](const Error& error) {
    EXPECT_EQ(objection_to_data_error(error, mutations.path + ": "), "");
  };
  const MutationCounts counts = read_mutations(mutations, take_safetensors);
  EXPECT_GT(counts.read, 0);
  EXPECT_GT(counts.refused, 0);
}

}  // namespace
}  // namespace longattn
