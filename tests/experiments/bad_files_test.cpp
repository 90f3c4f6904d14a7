// Files that a user hands over and that are not what they say, through the whole command line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/io/npy.h"
#include "core/io/safetensors.h"
#include "experiments/exit_codes.h"
#include "tests/core/reader_testing.h"
#include "tests/experiments/command_testing.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;

// So large that the command line's own texts are small beside it.
constexpr size_t kData = 256 * 1024;

std::string npy(std::string_view descr, std::string_view shape, size_t data = kData) {
  std::string header = "{'descr': " + std::string(descr) +
                       ", 'fortran_order': False, 'shape': " + std::string(shape) + ", }\n";
  std::string file("\x93NUMPY\x01\x00", 8);
  file += {static_cast<char>(header.size() % 256), static_cast<char>(header.size() / 256)};
  return file + header + std::string(data, '\1');
}

std::string with_length(std::string file, size_t at, std::uint64_t length, size_t bytes) {
  std::memcpy(file.data() + at, &length, bytes);
  return file;
}

std::string safetensors(std::string_view dtype, std::string_view shape, std::string_view end,
                        size_t data = kData) {
  std::string header = "{";
  std::string_view before = "0";
  for (const char* name : {"queries", "keys", "values"}) {
    header += (header.size() > 1 ? ",\"layers.0." : "\"layers.0.") + std::string(name) +
              "\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":" + std::string(shape) +
              ",\"data_offsets\":[" + std::string(before) + "," + std::string(end) + "]}";
    before = end;
    shape = "[1,0,8]";
  }
  header += "}";
  return with_length(std::string(8, '\0') + header + std::string(data, '\1'), 0, header.size(), 8);
}

struct BadFile {
  const char* name;
  std::string content;
  const char* message;
  bool listed = false;  // `inspect` can show what the file holds; `attend` cannot take it
};
void PrintTo(const BadFile& file, std::ostream* out) { *out << file.name; }

std::string cut(std::string file, size_t bytes) { return file.substr(0, file.size() - bytes); }
std::string good_npy() { return npy("'<f4'", "(8192, 8)"); }
std::string good_safetensors() { return safetensors("F32", "[1,8192,8]", "262144"); }

std::string test_name(const ::testing::TestParamInfo<BadFile>& test) { return test.param.name; }

class BadFiles : public ::testing::TestWithParam<BadFile> {
 protected:
  // One line that names the file, exit code 65, and no allocation larger than the file.
  void expect_refusal(const std::vector<std::string>& command) const {
    const std::string& content = GetParam().content;
    size_t largest = 0;
    CommandResult result;
    {
      const AllocationWatch watch;
      result = run_command(command);
      largest = watch.largest();
    }
    EXPECT_EQ(result.code, kExitData);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_TRUE(result.err.ends_with('\n'));
    expect_one_line(result.err.substr(0, result.err.size() - 1),
                    "longattn: error: " + path_ + ": ");
    EXPECT_THAT(result.err, HasSubstr(GetParam().message));
    EXPECT_LE(largest, std::max(content.size(), kData));
    EXPECT_EQ(folder_.entries(), 1) << "something was written";
  }
  TemporaryFolder folder_;
  std::string path_;
};

class BadArrays : public BadFiles {};

TEST_P(BadArrays, AreRefusedInOneLineWithinTheirSize) {
  path_ = folder_.file("a.npy", GetParam().content);
  if (!GetParam().listed) expect_refusal({"inspect", path_});
  expect_refusal({"attend", "full", "--queries", path_, "--keys", path_, "--values", path_,
                  "--output", folder_ / "o.npy"});
}

INSTANTIATE_TEST_SUITE_P(
    Npy, BadArrays,
    ::testing::Values(
        BadFile{"Empty", "", "first bytes, expected \\x93NUMPY"},
        BadFile{"TruncatedMagic", good_npy().substr(0, 5), "first bytes"},
        BadFile{"TruncatedHeader", good_npy().substr(0, 40), "header length, expected at most 30"},
        BadFile{"TruncatedData", cut(good_npy(), 1), "found 262143"},
        BadFile{"OversizedHeader", with_length(good_npy(), 8, 0xFFFF, 2), "found 65535"},
        BadFile{"OversizedHeaderOfVersion2",
                with_length(with_length(good_npy(), 6, 2, 1), 8, 0xFFFFFFFF, 4),
                "found 4294967295"},
        BadFile{"HugeShape", npy("'<f4'", "(1099511627776, 8)"), "found 262144"},
        BadFile{"OverflowingShape", npy("'<f4'", "(4611686018427387904, 8)"),
                "fewer than 2^63 bytes"},
        BadFile{"IntegerDtype", npy("'<i4'", "(8192, 8)"), "found int32", true},
        BadFile{"ComplexDtype", npy("'<c8'", "(4096, 8)"), "found '<c8'"},
        BadFile{"BigEndianDtype", npy("'>f4'", "(8192, 8)"), "big-endian"},
        BadFile{"ObjectDtype", npy("'|O'", "(4096, 8)"), "Python objects"},
        BadFile{"StructuredDtype", npy("[('x', '<f4')]", "(65536,)"), "structured type"},
        BadFile{"OneAxis", npy("'<f4'", "(65536,)"), "shape, expected [len, dim]", true},
        BadFile{"Zip", "PK\x03\x04" + good_npy(), "zip archive"}),
    test_name);

class BadTraces : public BadFiles {};

TEST_P(BadTraces, AreRefusedInOneLineWithinTheirSize) {
  path_ = folder_.file("t.safetensors", GetParam().content);
  if (!GetParam().listed) expect_refusal({"inspect", path_});
  expect_refusal({"attend", "full", "--input", path_, "--output", folder_ / "o.safetensors"});
}

INSTANTIATE_TEST_SUITE_P(
    Safetensors, BadTraces,
    ::testing::Values(
        BadFile{"Empty", "", "expected at least 8 bytes, found 0"},
        BadFile{"TruncatedHeader", good_safetensors().substr(0, 50), "the rest of the file"},
        BadFile{"TruncatedData", cut(good_safetensors(), 1), "data, expected 262144 bytes"},
        BadFile{"OversizedHeader", with_length(good_safetensors(), 0, kData * 2, 8),
                "found 524288"},
        BadFile{"HugeHeader", with_length(good_safetensors(), 0, ~std::uint64_t{0}, 8),
                "found 18446744073709551615"},
        BadFile{"NotJson",
                with_length(std::string(8, '\0') + "{\"a\":" + std::string(kData, ' '), 0, 100, 8),
                "expected JSON"},
        BadFile{
            "DeepJson",
            with_length(std::string(8, '\0') + "{\"a\":" + std::string(kData, '['), 0, kData, 8),
            "found a list"},
        BadFile{"HugeShape", safetensors("F32", "[1,1099511627776,8]", "35184372088832"),
                "data, expected 35184372088832 bytes"},
        BadFile{"WrongOffsets", safetensors("F32", "[1,8192,8]", "262140"),
                "expected 262144 bytes (F32 [1, 8192, 8])"},
        BadFile{"IntegerDtype", safetensors("I32", "[1,8192,8]", "262144"), "found I32", true},
        BadFile{"UnknownDtype", safetensors("O", "[1,8192,8]", "262144"), "found \"O\""},
        BadFile{"OneAxis", safetensors("F32", "[65536]", "262144"), "shape, expected", true}),
    test_name);

}  // namespace
}  // namespace longattn
