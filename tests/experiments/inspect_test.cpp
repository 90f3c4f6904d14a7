#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/io/npy.h"
#include "core/io/safetensors.h"
#include "experiments/exit_codes.h"
#include "tests/experiments/command_testing.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(Inspect, ShowsTypeShapeRangeAndNaNOfAnArray) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.npy";
  const std::vector<Index> shape = {2, 3};
  const std::vector<float> values = {1.5f, NAN, -2, INFINITY, 0, NAN};
  write_npy(path, shape, std::span<const float>(values));
  const CommandResult result = run_command({"inspect", path});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.out,
            path + ": npy, 152 bytes\n  float32   [2, 3]  -2 .. 1.5, 2 NaN, 1 infinite\n");

  const auto json = nlohmann::json::parse(run_command({"inspect", path, "--json"}).out);
  EXPECT_EQ(json["format"], "npy");
  EXPECT_EQ(json["bytes"], 152);
  EXPECT_EQ(json["fortran_order"], false);
  const auto& tensor = json["tensors"][0];
  EXPECT_EQ(tensor["dtype"], "float32");
  EXPECT_EQ(tensor["shape"], (std::vector<Index>{2, 3}));
  EXPECT_EQ(tensor["min"], -2);
  EXPECT_EQ(tensor["max"], 1.5);
  EXPECT_EQ(tensor["nan"], 2);
  EXPECT_EQ(tensor["infinite"], 1);
}

TEST(Inspect, AnArrayWithoutFiniteValuesHasNoRange) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.npy";
  const std::vector<Index> shape = {0, 3};
  write_npy(path, shape, std::span<const float>());
  EXPECT_THAT(run_command({"inspect", path}).out, HasSubstr("[0, 3]  no finite value\n"));
  const auto json = nlohmann::json::parse(run_command({"inspect", path, "--json"}).out);
  EXPECT_TRUE(json["tensors"][0]["min"].is_null());
}

TEST(Inspect, RangesAreOfTheWholeArrayHoweverLong) {
  const TemporaryFolder folder;
  const std::vector<Index> shape = {200'001};
  std::vector<double> values(200'001);
  values[65'536] = -3;
  values[200'000] = 7;
  write_npy(folder / "a.npy", shape, std::span<const double>(values));
  EXPECT_THAT(run_command({"inspect", folder / "a.npy"}).out, HasSubstr("-3 .. 7"));
}

TEST(Inspect, ShowsTheTensorsMetadataAndLayersOfATrace) {
  const TemporaryFolder folder;
  const std::string path = folder / "t.safetensors";
  const std::vector<float> values = {1, -2};
  const auto bytes = std::as_bytes(std::span(values));
  const Index id = 5;
  write_safetensors(path,
                    {{"layers.0.queries", ElementType::float32, {1, 1, 2}, bytes},
                     {"layers.3.queries", ElementType::float32, {1, 1, 2}, bytes},
                     {"ids", ElementType::int64, {1}, std::as_bytes(std::span(&id, 1))}},
                    {{"scale", "0.125"}, {"evil", "a\x1b[2J"}});
  const std::string out = run_command({"inspect", path}).out;
  EXPECT_THAT(out, HasSubstr("metadata scale = 0.125\n"));
  EXPECT_THAT(out, HasSubstr("metadata evil = a\\x1b[2J\n"));
  EXPECT_THAT(out, HasSubstr("a trace: --layer 0, 3\n"));
  EXPECT_THAT(out, HasSubstr("layers.0.queries  F32       [1, 1, 2]  -2 .. 1\n"));
  EXPECT_THAT(out, HasSubstr("I64       [1]        5 .. 5\n"));
  const auto json = nlohmann::json::parse(run_command({"inspect", path, "--json"}).out);
  EXPECT_EQ(json["metadata"]["scale"], "0.125");
  EXPECT_EQ(json["layers"], (std::vector<int>{0, 3}));
  EXPECT_EQ(json["tensors"].size(), 3u);
  EXPECT_EQ(json["tensors"][0]["name"], "ids");
  EXPECT_EQ(json["tensors"][0]["min"], 5);
}

TEST(Inspect, TypesThatAreNotReadAreStillListed) {
  const TemporaryFolder folder;
  std::string header = R"({"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})";
  const std::string path =
      folder.file("t", static_cast<char>(header.size()) + std::string(7, '\0') + header + "xy");
  EXPECT_THAT(run_command({"inspect", path}).out, HasSubstr("F8_E4M3   [2]  (type not read)\n"));
  const auto json = nlohmann::json::parse(run_command({"inspect", path, "--json"}).out);
  EXPECT_FALSE(json["tensors"][0].contains("min"));
}

TEST(Inspect, OtherFilesEndWithOneLineAndExitCode65) {
  const TemporaryFolder folder;
  for (const auto& [name, content] :
       {std::pair("a.npz", "PK\x03\x04"), std::pair("a.npy", "text"), std::pair("a", ""),
        std::pair("b", "some text that is no tensor"), std::pair("c", "\x93NUMPY\x07")}) {
    const std::string path = folder.file(name, content);
    const CommandResult result = run_command({"inspect", path});
    EXPECT_EQ(result.code, kExitData) << name;
    EXPECT_THAT(result.err, StartsWith("longattn: error: " + path + ": "));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(run_command({"inspect", folder / "none"}).code, kExitIo);
  EXPECT_EQ(run_command({"inspect", folder.path()}).code, kExitIo);
}

}  // namespace
}  // namespace longattn
