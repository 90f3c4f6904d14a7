#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <initializer_list>

#include "core/io/npy.h"
#include "core/io/safetensors.h"
#include "experiments/exit_codes.h"
#include "tests/experiments/command_testing.h"
#include "tests/temporary_folder.h"

namespace longattn {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Small numbers that differ everywhere.
std::vector<float> numbers(size_t count, float start) {
  std::vector<float> result(count);
  for (size_t n = 0; n < count; ++n) {
    result[n] = std::sin(start + 1.7f * static_cast<float>(n));
  }
  return result;
}

size_t product(const std::vector<Index>& shape) {
  size_t result = 1;
  for (Index length : shape) result *= static_cast<size_t>(length);
  return result;
}

class Attend : public ::testing::Test {
 protected:
  using Words = std::vector<std::string>;

  // Queries [.., 3, 2], keys [.., 4, 2], values [.., 4, 5] with leading axes of heads and batch.
  void write_inputs(std::vector<Index> query_axes, std::vector<Index> key_axes) {
    const auto write = [&](const char* name, std::vector<Index> shape, Index len, Index dim,
                           float start) {
      shape.insert(shape.end(), {len, dim});
      write_npy(folder_ / name, shape, std::span<const float>(numbers(product(shape), start)));
    };
    write("q.npy", query_axes, 3, 2, 1);
    write("k.npy", key_axes, 4, 2, 2);
    write("v.npy", key_axes, 4, 5, 3);
    write("gv.npy", key_axes, 4, 5, 4);
  }

  CommandResult attend(const Words& more, const std::string& variant = "toy") {
    Words words = {"attend",   variant,           "--queries", folder_ / "q.npy",
                   "--keys",   folder_ / "k.npy", "--values",  folder_ / "v.npy",
                   "--output", folder_ / "o.npy"};
    words.insert(words.end(), more.begin(), more.end());
    return run_command(words);
  }

  std::vector<double> array(const char* name) { return to_doubles(read_npy(folder_ / name)); }
  std::vector<Index> shape(const char* name) { return read_npy(folder_ / name).shape; }

  TemporaryFolder folder_;
};

// softmax over the visible keys, written out once more.
std::vector<double> expected_row(const std::vector<double>& q, const std::vector<double>& k,
                                 const std::vector<double>& v, size_t i, size_t visible,
                                 double scale) {
  std::vector<double> row(5);
  double sum = 0;
  for (size_t j = 0; j < visible; ++j) {
    const double weight = std::exp(scale * (q[2 * i] * k[2 * j] + q[2 * i + 1] * k[2 * j + 1]));
    sum += weight;
    for (size_t c = 0; c < 5; ++c) row[c] += weight * v[5 * j + c];
  }
  for (double& x : row) x /= sum;
  return row;
}

TEST_F(Attend, ComputesSoftmaxAttention) {
  write_inputs({}, {});
  const CommandResult result = attend({});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.out + result.err, "");
  const auto q = array("q.npy"), k = array("k.npy"), v = array("v.npy"), o = array("o.npy");
  EXPECT_THAT(shape("o.npy"), ElementsAre(3, 5));
  EXPECT_EQ(read_npy(folder_ / "o.npy").type, ElementType::float32);
  for (size_t i = 0; i < 3; ++i) {
    const auto row = expected_row(q, k, v, i, 4, 1 / std::sqrt(2.0));
    for (size_t c = 0; c < 5; ++c) EXPECT_NEAR(o[5 * i + c], row[c], 1e-6);
  }
}

TEST_F(Attend, CausalScaleAndKeyLengthsAreTaken) {
  write_inputs({}, {});
  ASSERT_EQ(attend({"--causal", "--scale", "-0.25", "--key-lengths", "3"}).code, kExitOk);
  const auto q = array("q.npy"), k = array("k.npy"), v = array("v.npy"), o = array("o.npy");
  for (size_t i = 0; i < 3; ++i) {
    const auto row = expected_row(q, k, v, i, std::min<size_t>(i + 2, 3), -0.25);
    for (size_t c = 0; c < 5; ++c) EXPECT_NEAR(o[5 * i + c], row[c], 1e-6);
  }
}

TEST_F(Attend, TheOutputHasTheAxesOfTheQueries) {
  const struct {
    std::vector<Index> queries, keys, output, logsumexp;
  } cases[] = {{{}, {}, {3, 5}, {3}},
               {{4}, {2}, {4, 3, 5}, {4, 3}},
               {{2, 4}, {2, 1}, {2, 4, 3, 5}, {2, 4, 3}},
               {{1, 1}, {}, {1, 1, 3, 5}, {1, 1, 3}},
               {{}, {1, 1}, {3, 5}, {3}}};
  for (const auto& c : cases) {
    write_inputs(c.queries, c.keys);
    ASSERT_EQ(attend({"--logsumexp", folder_ / "l.npy"}).code, kExitOk);
    EXPECT_EQ(shape("o.npy"), c.output);
    EXPECT_EQ(shape("l.npy"), c.logsumexp);
  }
}

TEST_F(Attend, WeightsTimesValuesIsTheOutput) {
  write_inputs({2, 4}, {2, 2});
  ASSERT_EQ(attend({"--causal", "--weights", folder_ / "w.npy", "--rows", "2,0"}).code, kExitOk);
  EXPECT_THAT(shape("w.npy"), ElementsAre(2, 4, 2, 4));
  EXPECT_EQ(read_npy(folder_ / "w.npy").type, ElementType::float64);
  const auto w = array("w.npy"), v = array("v.npy"), o = array("o.npy");
  for (size_t bh = 0; bh < 8; ++bh) {
    const size_t kv = bh / 4 * 2 + bh % 4 / 2;
    for (size_t r = 0; r < 2; ++r) {
      const size_t query = r == 0 ? 2 : 0;
      for (size_t c = 0; c < 5; ++c) {
        double sum = 0;
        for (size_t j = 0; j < 4; ++j) {
          sum += w[(bh * 2 + r) * 4 + j] * v[(kv * 4 + j) * 5 + c];
        }
        EXPECT_NEAR(o[(bh * 3 + query) * 5 + c], sum, 1e-6);
      }
    }
  }
}

TEST_F(Attend, WeightsWithoutRowsAreOfAllRows) {
  write_inputs({4}, {4});
  ASSERT_EQ(attend({"--weights", folder_ / "w.npy"}).code, kExitOk);
  EXPECT_THAT(shape("w.npy"), ElementsAre(1, 4, 3, 4));
}

TEST_F(Attend, OptionsAndTheSeedReachTheVariant) {
  write_inputs({}, {});
  ASSERT_EQ(attend({"--set", "gain=0.5", "--set", "tokens=[0, 2]", "--seed", "7"}).code, kExitOk);
  const auto halved = array("o.npy");
  ASSERT_EQ(attend({"--scale", "0.35355339059327373"}).code, kExitOk);
  const auto scaled = array("o.npy");
  for (size_t n = 0; n < halved.size(); ++n) EXPECT_NEAR(halved[n], scaled[n], 1e-6);
}

TEST_F(Attend, ExtraTensorsReachTheVariant) {
  write_inputs({2}, {1});
  ASSERT_EQ(attend({}).code, kExitOk);
  const auto plain = array("o.npy");
  ASSERT_EQ(attend({"--global-values", folder_ / "gv.npy"}).code, kExitOk);
  const auto global = array("o.npy");
  EXPECT_NE(plain[0], global[0]);  // row 0 weighs the global values
  EXPECT_EQ(plain[5], global[5]);  // row 1 does not
  const CommandResult refused = attend({"--global-keys", folder_ / "k.npy"});
  EXPECT_EQ(refused.code, kExitUsage);
  EXPECT_THAT(refused.err, HasSubstr("toy takes no extra tensor 'global_keys'"));
}

TEST_F(Attend, Float64IsRoundedWithOneNote) {
  write_inputs({}, {});
  ASSERT_EQ(attend({}).code, kExitOk);
  const auto before = array("o.npy");
  for (const char* name : {"q.npy", "v.npy"}) {
    const auto values = array(name);
    const auto axes = shape(name);
    write_npy(folder_ / name, axes, std::span<const double>(values));
  }
  const CommandResult result = attend({});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.err, "longattn: note: float64 rounded to float32: " + (folder_ / "q.npy") +
                            ", " + (folder_ / "v.npy") + "\n");
  EXPECT_EQ(array("o.npy"), before);
}

class AttendTrace : public Attend {
 protected:
  void write_trace(const SafetensorsMetadata& metadata, const std::vector<Index>& batch = {}) {
    const auto add = [&](const std::string& name, std::vector<Index> axes, float start) {
      axes.insert(axes.begin(), batch.begin(), batch.end());
      buffers_.push_back(numbers(product(axes), start));
      tensors_.push_back(
          {name, ElementType::float32, axes, std::as_bytes(std::span(buffers_.back()))});
    };
    buffers_.clear();
    tensors_.clear();
    buffers_.reserve(8);
    add("layers.2.queries", {2, 3, 2}, 1);
    add("layers.2.keys", {1, 3, 2}, 2);
    add("layers.2.values", {1, 3, 5}, 3);
    write_safetensors(folder_ / "t.safetensors", tensors_, metadata);
  }
  CommandResult attend_trace(const Words& more, const std::string& output = "o.safetensors") {
    Words words = {"attend",  "toy", "--input",  folder_ / "t.safetensors",
                   "--layer", "2",   "--output", folder_ / output};
    words.insert(words.end(), more.begin(), more.end());
    return run_command(words);
  }
  std::vector<float> output(const std::string& name = "output") {
    const SafetensorsFile file = SafetensorsFile::open(folder_ / "o.safetensors");
    const SafetensorsEntry& entry = file.entries().at(name);
    std::vector<float> values(static_cast<size_t>((entry.end - entry.begin) / 4));
    file.read(entry, 0, std::as_writable_bytes(std::span(values)));
    return values;
  }
  std::vector<std::vector<float>> buffers_;
  std::vector<SafetensorsTensor> tensors_;
};

TEST_F(AttendTrace, MetadataGivesScaleAndCausalAndFlagsOverrideThem) {
  write_trace({});
  ASSERT_EQ(attend_trace({"--scale", "2", "--causal"}).code, kExitOk);
  const auto causal_two = output();
  ASSERT_EQ(attend_trace({"--scale", "2"}).code, kExitOk);
  const auto open_two = output();
  ASSERT_EQ(attend_trace({"--causal"}).code, kExitOk);
  const auto causal = output();
  EXPECT_NE(causal_two, open_two);
  EXPECT_NE(causal_two, causal);

  write_trace({{"scale", "2"}, {"causal", "true"}});
  ASSERT_EQ(attend_trace({}).code, kExitOk);
  EXPECT_EQ(output(), causal_two);
  ASSERT_EQ(attend_trace({"--no-causal"}).code, kExitOk);
  EXPECT_EQ(output(), open_two);
  ASSERT_EQ(attend_trace({"--scale", "0.7071067811865475"}).code, kExitOk);
  EXPECT_EQ(output(), causal);
}

TEST_F(AttendTrace, OutputAndLogsumexpGoIntoOneFile) {
  write_trace({});
  ASSERT_EQ(attend_trace({"--logsumexp"}).code, kExitOk);
  SafetensorsFile file = SafetensorsFile::open(folder_ / "o.safetensors");
  EXPECT_EQ(file.entries().size(), 2u);
  EXPECT_THAT(file.entries().at("output").shape, ElementsAre(2, 3, 5));
  EXPECT_EQ(file.entries().at("output").dtype, "F32");
  EXPECT_THAT(file.entries().at("logsumexp").shape, ElementsAre(2, 3));

  write_trace({}, {1});
  ASSERT_EQ(attend_trace({}).code, kExitOk);
  const SafetensorsFile again = SafetensorsFile::open(folder_ / "o.safetensors");
  EXPECT_EQ(again.entries().size(), 1u);
  EXPECT_THAT(again.entries().at("output").shape, ElementsAre(1, 2, 3, 5));
}

TEST_F(AttendTrace, AMissingLayerIsADataErrorThatNamesTheLayers) {
  write_trace({});
  const CommandResult result = run_command({"attend", "toy", "--input", folder_ / "t.safetensors",
                                            "--layer", "3", "--output", folder_ / "o.safetensors"});
  EXPECT_EQ(result.code, kExitData);
  EXPECT_THAT(result.err, HasSubstr("layer, expected one of 2, found 3"));
}

TEST_F(Attend, MistakesOnTheCommandLineAreNamedAndExitWith2) {
  write_inputs({}, {});
  const std::string w = folder_ / "w.npy";
  const struct {
    Words words;
    const char* message;
  } cases[] = {
      {{"--set", "gian=1"}, "did you mean 'gain'?"},
      {{"--set", "gain"}, "--set is 'gain', expected name=value"},
      {{"--set", "gain=x"}, "option 'gain' is 'x', expected a number"},
      {{"--seed", "1", "--set", "seed=2"}, "option 'seed' is given twice"},
      {{"--seed", "x"}, "expected an integer"},
      {{"--threads", "0"}, "option '--threads' is '0', expected an integer in 1..1024"},
      {{"--scale", "inf"}, "option '--scale' is 'inf'"},
      {{"--key-lengths", "5"}, "key_lengths[0] is 5, must be in 0..4"},
      {{"--key-lengths", "1,2"}, "key_lengths has 2 entries, batch is 1"},
      {{"--key-lengths", "1,x"}, "option '--key-lengths'"},
      {{"--rows", "1"}, "--rows without --weights"},
      {{"--weights", w, "--rows", "3"}, "3 is not a query row; query_len is 3, so rows are 0..2"},
      {{"--weights", w, "--rows", "-1"}, "option '--rows'"},
      {{"--logsumexp"}, "it needs one: --logsumexp l.npy"},
      {{"--weights", "w.txt"}, "expected a name that ends in .npy"},
      {{"--weights", folder_ / "o.npy"}, "which another output has too"},
      {{"--input", "t.safetensors"}, "--queries beside --input"},
      {{"--nonsense"}, "--nonsense"},
  };
  for (const auto& [words, message] : cases) {
    const CommandResult result = attend(words);
    EXPECT_EQ(result.code, kExitUsage) << words[0];
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(folder_.entries(), 4);  // nothing was written
  EXPECT_THAT(attend({}, "tay").err, HasSubstr("unknown variant 'tay'; did you mean 'toy'?"));
  EXPECT_THAT(run_command({"attend", "toy", "--queries", folder_ / "q.npy"}).err,
              HasSubstr("--keys is missing"));
  EXPECT_THAT(run_command({"attend", "toy", "--queries", folder_ / "q.npy", "--keys",
                           folder_ / "k.npy", "--values", folder_ / "v.npy"})
                  .err,
              HasSubstr("--output is missing"));
}

TEST_F(Attend, AVariantWithoutSeedOrLogsumexpRefusesThem) {
  write_inputs({}, {});
  CommandResult result = attend({"--seed", "1"}, "plain_toy");
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("plain_toy has no option 'seed'"));
  result = attend({"--logsumexp", folder_ / "l.npy"}, "plain_toy");
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("not a softmax"));
  result = attend({"--causal"}, "plain_toy");
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("plain_toy: it sees the whole sequence"));
}

TEST_F(Attend, ShapesThatDoNotFitNameBothNumbers) {
  write_inputs({3}, {2});
  EXPECT_THAT(attend({}).err, HasSubstr("num_heads 3 is not a multiple of num_kv_heads 2"));
  write_inputs({}, {});
  const std::vector<Index> axes = {4, 3};
  write_npy(folder_ / "k.npy", axes, std::span<const float>(numbers(12, 1)));
  EXPECT_THAT(attend({}).err, HasSubstr("keys: dim 3, queries say 2"));
}

TEST_F(Attend, BadFilesEndWithOneLineAndTheirOwnExitCode) {
  write_inputs({}, {});
  const std::string good = read_text(folder_ / "k.npy", 10'000);
  folder_.file("k.npy", good.substr(0, good.size() - 1));
  CommandResult result = attend({});
  EXPECT_EQ(result.code, kExitData);
  EXPECT_THAT(result.err, StartsWith("longattn: error: " + (folder_ / "k.npy") + ": data, "));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1);

  folder_.file("k.npy", good);
  result =
      run_command({"attend", "toy", "--queries", folder_ / "none.npy", "--keys", folder_ / "k.npy",
                   "--values", folder_ / "v.npy", "--output", folder_ / "o.npy"});
  EXPECT_EQ(result.code, kExitIo);
  EXPECT_THAT(result.err, EndsWith("none.npy: cannot open: No such file or directory\n"));

  result = attend({"--weights", folder_ / "no/w.npy"});
  EXPECT_EQ(result.code, kExitCannotCreate);
  EXPECT_EQ(folder_.entries(), 4);  // not even the output, which could have been written
}

TEST_F(Attend, HelpShowsACompleteExample) {
  const CommandResult result = run_command({"attend", "--help"});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_THAT(result.out, HasSubstr("longattn attend full --queries q.npy --keys k.npy"));
  EXPECT_THAT(result.out, HasSubstr("[batch, heads, len, dim]"));
}

}  // namespace
}  // namespace longattn
