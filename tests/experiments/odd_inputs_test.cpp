// Numbers and sizes at which arithmetic ends: each is a row that says so.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <regex>
#include <string>

#include "experiments/results.h"
#include "tests/experiments/run_testing.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A trace of 16 tokens, one head of dimension 4. Numbers between -1 and 1 times a factor for each
// tensor, and one element that is put in.
struct Odd {
  const char* name;
  std::array<float, 3> factors;  // of queries, keys, values
  int tensor;                    // that gets the element; -1: none
  float element;
  Status status;
  const char* reason;
  bool equal = false;  // every number is the factor
};

constexpr Odd kOdd[] = {
    {"plain", {1, 1, 1}, -1, 0, Status::ok, ""},
    {"zero", {0, 0, 0}, -1, 0, Status::ok, ""},
    {"values of zero", {1, 1, 0}, -1, 0, Status::ok, ""},
    {"denormal", {1e-40f, 1e-40f, 1e-40f}, -1, 0, Status::ok, ""},
    {"large values", {1, 1, 1e30f}, -1, 0, Status::ok, ""},
    // Products of 1e60 are numbers in double, where the definition is, but not in float.
    {"scores beyond float",
     {1e30f, 1e30f, 1},
     -1,
     0,
     Status::nan,
     "where the definition is finite"},
    {"infinite key", {1, 1, 1}, 1, kInfinity, Status::nan, "look at the inputs"},
    {"infinite value", {1, 1, 1}, 2, -kInfinity, Status::nan, "look at the inputs"},
    {"a query that is none", {1, 1, 1}, 0, kNaN, Status::nan, "look at the inputs"},
    {"a value that is none", {1, 1, 1}, 2, kNaN, Status::nan, "look at the inputs"},
};

class OddInputs : public RunTest {
 protected:
  static constexpr size_t kElements = 16 * 4;

  static std::array<float, kElements> tensor(const Odd& odd, int number) {
    std::array<float, kElements> elements;
    for (size_t n = 0; n < kElements; ++n) {
      const auto step = static_cast<double>(n + 100 * static_cast<size_t>(number));
      elements[n] = odd.factors[static_cast<size_t>(number)];
      if (!odd.equal) elements[n] *= static_cast<float>(std::sin(step));
    }
    if (odd.tensor == number) elements[9] = odd.element;
    return elements;
  }

  // The config that runs full and longformer on it.
  fs::path write(const Odd& odd, const std::string& variants = "full, {longformer: {window: 3}}") {
    const std::string header =
        R"({"layers.0.queries":{"dtype":"F32","shape":[1,16,4],"data_offsets":[0,256]},)"
        R"("layers.0.keys":{"dtype":"F32","shape":[1,16,4],"data_offsets":[256,512]},)"
        R"("layers.0.values":{"dtype":"F32","shape":[1,16,4],"data_offsets":[512,768]}})";
    std::ofstream file(folder_ / "odd.safetensors", std::ios::binary);
    const std::uint64_t size = header.size();
    file.write(reinterpret_cast<const char*>(&size), sizeof size);
    file << header;
    for (int number = 0; number < 3; ++number) {
      const auto elements = tensor(odd, number);
      file.write(reinterpret_cast<const char*>(elements.data()), sizeof elements);
    }
    const fs::path config = folder_ / "config.yaml";
    std::ofstream(config) << "longattn: 1\nname: test\nthreads: 1\n"
                             "inputs: [{trace: odd.safetensors, layer: 0}]\n"
                             "problem: {lengths: [16]}\n"
                             "variants: ["
                          << variants << "]\n"
                          << kQuick << "\n";
    return config;
  }
};

TEST_F(OddInputs, AreRowsThatSayWhatIsWrong) {
  for (const Odd& odd : kOdd) {
    const bool good = odd.status == Status::ok;
    EXPECT_EQ(call(kProgram, run_of(write(odd))), good ? 0 : 1) << odd.name << ": " << err();
    for (const auto& [variant, cell] : results()) {
      EXPECT_EQ(to_string(cell.status), to_string(odd.status)) << odd.name << ": " << cell.reason;
      EXPECT_NE(cell.reason.find(odd.reason), std::string::npos) << odd.name << ": " << cell.reason;
      EXPECT_EQ(cell.time_s.has_value(), good) << odd.name << ", " << variant;
    }
    // A number that is none is left out of the table; only a status has the name.
    const std::string csv =
        std::regex_replace(slurp(folder_ / "results" / "results.csv"),
                           std::regex("(full|longformer),nan,"), "$1,not a number,");
    EXPECT_FALSE(std::regex_search(csv, std::regex(",-?(nan|inf)[,\r]"))) << odd.name << csv;
    fs::remove_all(results_folder());
  }
}

// An error relative to nothing is undefined, the absolute one is not.
TEST_F(OddInputs, OfZeroLeaveTheRelativeErrorOut) {
  EXPECT_EQ(call(kProgram, run_of(write(kOdd[1]))), 0) << err();
  for (const char* variant : {"full", "longformer"}) {
    EXPECT_FALSE(results().at(variant).relative_error) << variant;
    EXPECT_EQ(*results().at(variant).max_abs_error, 0) << variant;
    EXPECT_TRUE(results().at(variant).time_s) << variant;
  }
}

// Where float has no number for full attention there is no floor to tell, and no "nan".
TEST_F(OddInputs, BeyondFloatHaveNoFloor) {
  EXPECT_EQ(call(kProgram, run_of(write(kOdd[5], "mean_value"))), 0) << err();
  EXPECT_FALSE(results().at("mean_value").relative_error_floor);
  EXPECT_EQ((out() + slurp(folder_ / "results" / "results.csv")).find("nan"), std::string::npos);
}

// Every choice of keys is right then, to the rounding of the judge.
TEST_F(OddInputs, ThatAreAllEqualAreNoReproachToAnyVariant) {
  const Odd equal = {"equal", {1, 1, 1}, -1, 0, Status::ok, "", true};
  EXPECT_EQ(call(kProgram, run_of(write(equal,
                                        "full, blockwise, mean_value, reformer, "
                                        "{longformer: {window: 3}}, {topk_oracle: {k: 2}}"),
                                  {"--no-report"})),
            0)
      << err();
  for (const auto& [variant, cell] : results()) {
    EXPECT_EQ(cell.status, Status::ok) << variant << ": " << cell.reason;
    EXPECT_LE(cell.relative_error->value, 0x1p-24) << variant;
  }
  EXPECT_EQ(out().find("No better than the mean"), std::string::npos) << out();
}

TEST_F(OddInputs, OfNoTokensAreRefusedBeforeAnythingIsMeasured) {
  const std::string header =
      R"({"layers.0.queries":{"dtype":"F32","shape":[1,0,4],"data_offsets":[0,0]},)"
      R"("layers.0.keys":{"dtype":"F32","shape":[1,0,4],"data_offsets":[0,0]},)"
      R"("layers.0.values":{"dtype":"F32","shape":[1,0,4],"data_offsets":[0,0]}})";
  const fs::path config = write(kOdd[0]);
  const std::uint64_t size = header.size();
  std::ofstream(folder_ / "odd.safetensors", std::ios::binary)
      << std::string(reinterpret_cast<const char*>(&size), sizeof size) << header;
  for (const char* lengths : {"[16]", ""}) {
    Arguments arguments = run_of(config);
    arguments.insert(arguments.end(), {"--set", "problem.lengths=" + std::string(lengths)});
    EXPECT_EQ(call(kProgram, arguments), 2) << err();
    EXPECT_NE(err().find("the trace 'odd layer 0' has 0 "), std::string::npos) << err();
    EXPECT_FALSE(fs::exists(results_folder()));
  }
}

TEST_F(OddInputs, OfTheShortestLengthsAreNoFault) {
  const fs::path config = write_config(
      "[full, blockwise, {longformer: {window: 64}}, bigbird, sparse_transformer, "
      "reformer, ring, adaptive_span, mean_value]",
      kQuick, "[1, 2, 3, 7]");
  EXPECT_EQ(call(kProgram, run_of(config, {"--no-report"})), 0) << err();
  for (const CellResult& cell : results_from_folder(results_folder()).cells) {
    EXPECT_TRUE(cell.status == Status::ok || !cell.reason.empty()) << cell.cell.variant;
    EXPECT_FALSE(cell.nondeterministic) << cell.cell.variant;
  }
}

}  // namespace
}  // namespace longattn
