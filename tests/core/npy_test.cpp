#include "core/io/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/io/npy_header.h"
#include "tests/core/reader_testing.h"
#include "tests/fuzz/readers.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string header_dict(std::string_view descr, std::string_view order, std::string_view shape) {
  return "{'descr': " + std::string(descr) + ", 'fortran_order': " + std::string(order) +
         ", 'shape': " + std::string(shape) + ", }";
}

// A file of the given version around any header text.
std::string npy_file(std::string header, std::string_view data, int version = 1) {
  header += '\n';
  const size_t length = header.size();
  std::string file("\x93NUMPY");
  file += {static_cast<char>(version), '\0'};
  for (int n = 0; n < (version == 1 ? 2 : 4); ++n) {
    file += static_cast<char>(length >> (8 * n) & 255);
  }
  return file + header + std::string(data);
}

template <class T>
std::string raw(std::initializer_list<T> elements) {
  std::string bytes;
  for (T element : elements) bytes.append(reinterpret_cast<const char*>(&element), sizeof(T));
  return bytes;
}

class Npy : public ::testing::Test {
 protected:
  NpyArray read(const std::string& content) { return read_npy(folder_.file("a.npy", content)); }
  // The message that refuses this content, without the folder.
  std::string refusal(const std::string& content) {
    const std::string path = folder_.file("a.npy", content);
    const std::string message = data_error([&] { read_npy(path); });
    EXPECT_TRUE(message.starts_with(path + ": ")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_THAT(message, HasSubstr(", expected "));
    EXPECT_THAT(message, HasSubstr(", found "));
    return message.size() > path.size() + 2 ? message.substr(path.size() + 2) : "";
  }
  TemporaryFolder folder_;
};

TEST_F(Npy, WhatIsWrittenIsReadBack) {
  const std::vector<Index> shape = {2, 1, 3};
  const std::vector<float> floats = {1, -2.5f, 3, 0x1p-149f, INFINITY, -0.0f};
  write_npy(folder_ / "f.npy", shape, std::span<const float>(floats));
  const NpyArray array = read_npy(folder_ / "f.npy");
  EXPECT_EQ(array.shape, shape);
  EXPECT_EQ(array.type, ElementType::float32);
  EXPECT_EQ(std::memcmp(array.bytes.data(), floats.data(), 24), 0);

  const std::vector<double> doubles = {0.1, 2, 3, 4, 5, 6};
  write_npy(folder_ / "d.npy", shape, std::span<const double>(doubles));
  EXPECT_EQ(to_doubles(read_npy(folder_ / "d.npy")), doubles);
}

TEST_F(Npy, TheWriterFollowsNumPyToTheByte) {
  const std::vector<Index> shape = {3};
  const std::vector<float> floats = {1, 2, 3};
  write_npy(folder_ / "f.npy", shape, std::span<const float>(floats));
  // As numpy 1.24 writes np.arange(1, 4, dtype=np.float32).
  std::string expected("\x93NUMPY\x01\x00\x76\x00", 10);
  expected += "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
  expected.resize(127, ' ');
  expected += '\n' + raw<float>({1, 2, 3});
  EXPECT_EQ(read_text(folder_ / "f.npy", 1000), expected);
}

TEST_F(Npy, DataIsAlignedTo64BytesForEveryShape) {
  for (Index axes = 0; axes <= 20; ++axes) {
    std::vector<Index> shape(static_cast<size_t>(axes), 1);
    const std::string text = npy_header_text(shape, ElementType::float64);
    EXPECT_EQ((10 + text.size()) % 64, 0u) << axes;
    EXPECT_EQ(parse_npy_header(text, "x").shape, shape);
  }
}

TEST_F(Npy, EveryAcceptedTypeIsReadAsNumbers) {
  const auto values = [&](std::string_view descr, const std::string& data) {
    return to_doubles(read(npy_file(header_dict(descr, "False", "(2,)"), data)));
  };
  EXPECT_THAT(values("'<f8'", raw<double>({1.5, -2})), ElementsAre(1.5, -2));
  EXPECT_THAT(values("'<f4'", raw<float>({1.5, -2})), ElementsAre(1.5, -2));
  EXPECT_THAT(values("'<f2'", raw<std::uint16_t>({0x3E00, 0xC000})), ElementsAre(1.5, -2));
  EXPECT_THAT(values("'<i8'", raw<std::int64_t>({7, -2})), ElementsAre(7, -2));
  EXPECT_THAT(values("'<i4'", raw<std::int32_t>({7, -2})), ElementsAre(7, -2));
  EXPECT_THAT(values("'|u1'", raw<std::uint8_t>({7, 255})), ElementsAre(7, 255));
  EXPECT_THAT(values("'|b1'", raw<std::uint8_t>({0, 1})), ElementsAre(0, 1));
}

TEST_F(Npy, IntegersAreExactAndFloatsAreNotIntegers) {
  const Index large = (Index{1} << 53) + 1;
  const auto array =
      read(npy_file(header_dict("'<i8'", "False", "(2,)"), raw<Index>({large, -large})));
  EXPECT_THAT(to_integers(array, "a.npy"), ElementsAre(large, -large));
  const auto bytes = read(npy_file(header_dict("'|u1'", "False", "(1,)"), "\xFF"));
  EXPECT_THAT(to_integers(bytes, "a.npy"), ElementsAre(255));
  const auto floats = read(npy_file(header_dict("'<f4'", "False", "(1,)"), raw<float>({1})));
  EXPECT_THAT(data_error([&] { to_integers(floats, "a.npy"); }),
              HasSubstr("a.npy: element type, expected an integer"));
}

TEST_F(Npy, VersionsOneTwoAndThreeAreRead) {
  for (const int version : {1, 2, 3}) {
    const auto array =
        read(npy_file(header_dict("'<f4'", "False", "(1,)"), raw<float>({4}), version));
    EXPECT_THAT(to_doubles(array), ElementsAre(4)) << version;
  }
}

TEST_F(Npy, FortranOrderIsTurnedIntoCOrder) {
  // a[i][j][k] = 100 i + 10 j + k, first index fastest.
  std::string data;
  for (int k = 0; k < 4; ++k) {
    for (int j = 0; j < 3; ++j) {
      for (int i = 0; i < 2; ++i) data += raw<double>({100.0 * i + 10.0 * j + k});
    }
  }
  const NpyArray array = read(npy_file(header_dict("'<f8'", "True", "(2, 3, 4)"), data));
  const std::vector<double> values = to_doubles(array);
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 3; ++j) {
      for (int k = 0; k < 4; ++k) {
        EXPECT_EQ(values[static_cast<size_t>((i * 3 + j) * 4 + k)], 100 * i + 10 * j + k);
      }
    }
  }
}

TEST_F(Npy, ScalarsAndEmptyArraysAreRead) {
  EXPECT_THAT(to_doubles(read(npy_file(header_dict("'<f4'", "False", "()"), raw<float>({3})))),
              ElementsAre(3));
  const NpyArray empty = read(npy_file(header_dict("'<f4'", "True", "(3, 0, 2)"), ""));
  EXPECT_THAT(empty.shape, ElementsAre(3, 0, 2));
  EXPECT_EQ(to_tensor(empty, "a.npy").size(), 0);
}

TEST_F(Npy, OtherSpellingsOfTheSameHeaderAreRead) {
  for (const char* header : {"{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"<f4\"}",
                             "{'fortran_order': False, 'descr': '<f4', 'shape': (2L,)}   ",
                             "{'descr': '<f4', 'fortran_order': False, 'shape': ( 2 , ) , }"}) {
    EXPECT_THAT(to_doubles(read(npy_file(header, raw<float>({1, 2})))), ElementsAre(1, 2))
        << header;
  }
}

TEST_F(Npy, TensorsTakeTwoToFourAxes) {
  const auto shape_of = [&](std::string_view shape, size_t count) {
    const auto array =
        read(npy_file(header_dict("'<f4'", "False", shape), std::string(4 * count, '\0')));
    return to_tensor(array, "a.npy").shape();
  };
  EXPECT_EQ(shape_of("(3, 2)", 6), (std::array<Index, 4>{1, 1, 3, 2}));
  EXPECT_EQ(shape_of("(4, 3, 2)", 24), (std::array<Index, 4>{1, 4, 3, 2}));
  EXPECT_EQ(shape_of("(5, 4, 3, 2)", 120), (std::array<Index, 4>{5, 4, 3, 2}));
  EXPECT_THAT(data_error([&] { shape_of("(6,)", 6); }), HasSubstr("found [6]"));
  EXPECT_THAT(data_error([&] { shape_of("(1, 1, 1, 1, 6)", 6); }), HasSubstr("[1, 1, 1, 1, 6]"));
}

TEST_F(Npy, Float64IsRoundedToFloat32AndSaysSo) {
  const auto array =
      read(npy_file(header_dict("'<f8'", "False", "(1, 3)"), raw<double>({0.1, NAN, INFINITY})));
  bool rounded = false;
  const Tensor tensor = to_tensor(array, "a.npy", &rounded);
  EXPECT_TRUE(rounded);
  EXPECT_EQ(tensor.floats()[0], 0.1f);
  EXPECT_TRUE(std::isnan(tensor.floats()[1]));
  EXPECT_EQ(tensor.floats()[2], INFINITY);

  const auto narrow =
      read(npy_file(header_dict("'<f2'", "False", "(1, 1)"), raw<std::uint16_t>({0x3C00})));
  rounded = false;
  EXPECT_EQ(to_tensor(narrow, "a.npy", &rounded).dtype(), DType::float16);
  EXPECT_FALSE(rounded);
}

TEST_F(Npy, Float64BeyondFloat32IsRefusedNotTurnedIntoInfinity) {
  const auto tensor_of = [&](double value) {
    const auto array =
        read(npy_file(header_dict("'<f8'", "False", "(1, 2)"), raw<double>({0, value})));
    return to_tensor(array, "a.npy").floats()[1];
  };
  EXPECT_EQ(tensor_of(0x1.fffffefffffffp127), 0x1.fffffep127f);
  EXPECT_THAT(data_error([&] { tensor_of(-0x1.ffffffp127); }), HasSubstr("element 1, expected"));
  EXPECT_THAT(data_error([&] { tensor_of(1e300); }), HasSubstr("found 1e+300"));
}

TEST_F(Npy, EachBrokenRuleIsRefusedInOneLine) {
  const auto with = [](std::string_view descr, std::string_view order, std::string_view shape) {
    return npy_file(header_dict(descr, order, shape), raw<float>({1, 2}));
  };
  const struct {
    std::string content;
    std::string_view message;
  } cases[] = {
      {"", "first bytes, expected \\x93NUMPY"},
      {"\x93NUMP", "first bytes"},
      {"PK\x03\x04 and so on", "found a zip archive (.npz"},
      {"\x93NUMPY\x01", "version, expected 1.0, 2.0 or 3.0, found the end"},
      {std::string("\x93NUMPY\x09\x00\x10\x00", 10), "found 9.0"},
      {std::string("\x93NUMPY\x01\x01\x10\x00", 10), "found 1.1"},
      {std::string("\x93NUMPY\x02\x00\x10\x00", 10), "header length, expected 4 bytes"},
      {std::string("\x93NUMPY\x01\x00\x00\x00", 10), "found nothing"},
      {std::string("\x93NUMPY\x01\x00\xff\xff", 10) + std::string(70000, ' '), "found 65535"},
      {std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12), "found 4294967295"},
      {std::string("\x93NUMPY\x01\x00\x05\x00", 10) + "{   }", "expected a line end"},
      {npy_file("{'descr': '<f4\xe9'", ""), "expected ASCII, found byte 0xe9 at character 14"},
      {npy_file("", ""), "expected '{', found its end"},
      {npy_file("{'descr': '<f4', 'fortran_order': False}", ""), "the key 'shape', found none"},
      {npy_file("{'shape': (2,), 'fortran_order': False}", ""), "the key 'descr', found none"},
      {npy_file("{'descr': '<f4', 'shape': (2,)}", ""), "the key 'fortran_order', found none"},
      {npy_file("{'x': 1}", ""), "header key, expected descr, fortran_order or shape, found 'x'"},
      {npy_file("{'descr': '<f4', 'descr': '<f4'}", ""), "'descr', expected it once"},
      {npy_file("{'descr': '<f4' 'shape': (2,)}", ""), "expected '}', found ''shape'"},
      {npy_file("{'descr': '<f4'", ""), "expected '}', found its end"},
      {npy_file("{'descr': '<f4", ""), "expected a closing quote"},
      {npy_file("{'descr': '\\x3cf4'}", ""), "without backslash"},
      {npy_file("{'descr': f4}", ""), "expected an element type in quotes"},
      {npy_file(header_dict("'<f4'", "False", "(2,)") + "x", raw<float>({1, 2})),
       "expected nothing after the '}'"},
      {with("'<f4'", "0", "(2,)"), "expected True or False, found '0"},
      {with("'<f4'", "False", "(-1,)"), "expected an axis length from 0 to 2^63 - 1, found '-1"},
      {with("'<f4'", "False", "(1.5,)"), "found '.5"},
      {with("'<f4'", "False", "('3',)"), "expected an axis length"},
      {with("'<f4'", "False", "(02,)"), "expected an axis length"},
      {with("'<f4'", "False", "(,)"), "expected an axis length"},
      {with("'<f4'", "False", "(9223372036854775808,)"), "expected an axis length"},
      {with("'<f4'", "False", "((2,),)"), "expected an axis length"},
      {with("'<f4'", "False", std::string(4000, '(')), "expected an axis length"},
      {with("'<f4'", "False", "(2)"), "shape, expected a tuple, (n,), found (2)"},
      {with("'<f4'", "False", "(2 1)"), "expected ',' or ')'"},
      {with("'<f4'", "False", "2"), "expected a shape such as"},
      {with("'<f4'", "False", "(4611686018427387904, 8)"), "expected fewer than 2^63 bytes"},
      {with("'<f4'", "False", "(4611686018427387904, 8, 0)"), "expected fewer than 2^63 bytes"},
      {with("'|O'", "False", "(2,)"), "found '|O': Python objects"},
      {with("'O'", "False", "(2,)"), "Python objects"},
      {with("'>f4'", "False", "(2,)"), "found '>f4': big-endian"},
      {with("'<V2'", "False", "(2,)"), "untyped bytes"},
      {with("'<c8'", "False", "(2,)"), "found '<c8'"},
      {with("[('x', '<f4')]", "False", "(2,)"), "found a structured type"},
      {with("'<f4'", "False", "(1,)"), "data, expected 4 bytes (float32 [1]), found 8"},
      {with("'<f4'", "False", "(3,)"), "data, expected 12 bytes (float32 [3]), found 8"},
      {with("'<f8'", "False", "(1152921504606846975,)"), "found 8"},
  };
  for (const auto& [content, message] : cases) {
    EXPECT_THAT(refusal(content), HasSubstr(message)) << content.substr(0, 100);
  }
}

TEST_F(Npy, AFileOneByteShortOrLongIsRefused) {
  const std::string file = npy_file(header_dict("'<f4'", "False", "(2,)"), raw<float>({1, 2}));
  EXPECT_EQ(read(file).size(), 2);
  EXPECT_THAT(refusal(file.substr(0, file.size() - 1)), HasSubstr("found 7"));
  EXPECT_THAT(refusal(file + '\0'), HasSubstr("found 9"));
}

TEST_F(Npy, EveryTruncationIsRefused) {
  const std::string file = npy_file(header_dict("'<f8'", "True", "(2, 2)"), std::string(32, 'x'));
  for (size_t length = 0; length < file.size(); ++length) refusal(file.substr(0, length));
}

TEST_F(Npy, NothingIsAllocatedForElementsThatAreNotThere) {
  const std::string path = folder_.file(
      "a.npy", npy_file(header_dict("'<f8'", "False", "(1000000, 1000)"), std::string(8, 'x')));
  const AllocationWatch watch;
  EXPECT_THAT(data_error([&] { read_npy(path); }), HasSubstr("expected 8000000000 bytes"));
  EXPECT_GT(watch.largest(), 0u);  // it does see allocations
  EXPECT_LT(watch.largest(), 1024u);
}

TEST_F(Npy, MutatedFilesAreReadOrRefusedAndNothingElse) {
  Mutations mutations;
  mutations.seeds = {npy_file(header_dict("'<f4'", "False", "(2, 3)"), std::string(24, '\1')),
                     npy_file(header_dict("'<f8'", "True", "(2, 2, 2)"), std::string(64, '\2')),
                     npy_file(header_dict("'|u1'", "False", "(16, 16)"), std::string(256, '\3'), 2),
                     npy_file(header_dict("'<f2'", "False", "()"), std::string(2, '\4'), 3)};
  mutations.tokens = {"0",    "1",     "9",   "-",     "4294967296", "9223372036854775807",
                      "(",    ")",     ",",   "'",     "\"",         "{",
                      "}",    ":",     "L",   "\n",    "\xff",       "<f8",
                      "|O",   ">f4",   "<V2", "shape", "descr",      "fortran_order",
                      "True", "False", "\\x"};
  mutations.path = folder_ / "mutant.npy";
  mutations.rounds = 40'000;
  mutations.check = [&](const Error& error) {
    EXPECT_EQ(objection_to_data_error(error, mutations.path + ": "), "");
  };
  const MutationCounts counts = read_mutations(mutations, take_npy);
  EXPECT_GT(counts.read, 0);
  EXPECT_GT(counts.refused, 0);
}

}  // namespace
}  // namespace longattn
