#include "variants/linformer/linformer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "core/io/npy.h"
#include "experiments/measure/heap_counter.h"
#include "tests/temporary_folder.h"
#include "tests/variants/variant_testing.h"
#include "variants/full.h"

namespace longattn {
namespace {

std::unique_ptr<const Attention> linformer(const Problem& p, const OptionTexts& options) {
  return make_attention(kLinformer, p, Options(kLinformer.options, options));
}

std::string refusal(const Problem& p, const OptionTexts& options) {
  return kLinformer.unsupported(p, Options(kLinformer.options, options));
}

double ratio_to_full(const Attention& attention, ProblemTensors& t) {
  return forward_ratio(attention, *make_attention(kFull, attention.problem(), {}), t);
}

TEST(Linformer, WeighsFiveKeysInTwoSegmentsAsComputedByHand) {
  // Keys (0, 2) have mean 1 and (3, -3, 0) mean 0; the query ln 3 gives them 3/4 and 1/4.
  Problem p = problem_of(5, 1);
  p.query_len = 1;
  p.scale = 1;
  ProblemTensors t(p);
  t.queries.floats()[0] = std::log(3.0f);
  std::ranges::copy(std::vector<float>{0, 2, 3, -3, 0}, t.keys.floats());
  std::ranges::copy(std::vector<float>{8, 16, 12, 24, 36}, t.values.floats());
  const auto plan = linformer(p, {{"projection", "mean_pool"}, {"projected_len", "2"}});
  const Eigen::MatrixXd w = all_weights(*plan, t.inputs());
  const std::vector<double> by_hand = {3.0 / 8, 3.0 / 8, 1.0 / 12, 1.0 / 12, 1.0 / 12};
  for (Index j = 0; j < 5; ++j) EXPECT_NEAR(w(0, j), by_hand[static_cast<size_t>(j)], 1e-7);
  Context context(1);
  plan->forward(t.inputs(), t.output_alone(), context);
  EXPECT_NEAR(t.output.floats()[0], 0.75 * 12 + 0.25 * 24, 1e-5);
}

TEST(Linformer, CostsTwoProjectedLengthsOverTheLengthOfFullAttention) {
  const Problem p = problem_of(4096, 64);
  const double full = make_attention(kFull, p, {})->cost(1).flops;
  for (Index k : {128, 256, 1024}) {
    const double own = linformer(p, {{"projected_len", std::to_string(k)}})->cost(1).flops;
    EXPECT_DOUBLE_EQ(full / own, 4096.0 / (2.0 * static_cast<double>(k)));
  }
}

TEST(Linformer, TakesNoMoreMemoryThanItsWorkspaceAndItsProjections) {
  for (const auto& [share, matrices] : {std::pair{"key_value", 1}, {"headwise", 2}, {"none", 8}}) {
    Problem p = problem_of(3000, 16);
    p.num_heads = p.num_kv_heads = 4;
    ProblemTensors t(p);
    const auto plan = linformer(p, {{"projected_len", "100"}, {"share", share}});
    const Cost cost = plan->cost(2);
    EXPECT_EQ(cost.held_bytes, matrices * 4.0 * 100 * 3000);
    Context context(2);
    context.arena().for_each(2, [](Index, int) {});
    start_heap_counting();
    plan->forward(t.inputs(), t.output_alone(), context);
    const auto peak = static_cast<double>(stop_heap_counting());
    EXPECT_EQ(static_cast<double>(context.workspace().peak_bytes()), cost.workspace_bytes);
    if (!heap_counting_available()) continue;
    EXPECT_GE(peak, cost.workspace_bytes + cost.held_bytes);
    // Beside both: what is left of the workspace's first chunk, and oneTBB's tasks.
    EXPECT_LE(peak, cost.workspace_bytes + cost.held_bytes + 2 * 65536);
  }
}

TEST(Linformer, OfOneKeyASegmentIsFullAttention) {
  for (Index len : {1, 97, 257}) {
    const Problem p = problem_of(len);
    ProblemTensors t(p);
    const OptionTexts whole = {{"projection", "mean_pool"}, {"projected_len", std::to_string(len)}};
    EXPECT_TRUE(kLinformer.traits(p, Options(kLinformer.options, whole)).exact);
    EXPECT_LE(ratio_to_full(*linformer(p, whole), t), 1);
    if (len == 1) continue;
    const auto half =
        linformer(p, {{"projection", "mean_pool"}, {"projected_len", std::to_string(len / 2)}});
    EXPECT_GT(ratio_to_full(*half, t), 100);
  }
}

TEST(Linformer, OfKeysAndValuesConstantOnSegmentsIsFullAttention) {
  const Problem p = problem_of(60);
  ProblemTensors t(p);
  for (Tensor* tensor : {&t.keys, &t.values}) {
    for (Index j = 0; j < 60; ++j) {
      std::copy_n(tensor->floats() + j / 5 * 5 * 4, 4, tensor->floats() + j * 4);
    }
  }
  const auto pooled = linformer(p, {{"projection", "mean_pool"}, {"projected_len", "12"}});
  EXPECT_LE(ratio_to_full(*pooled, t), 1);
}

class LinformerFiles : public testing::Test {
 protected:
  // A matrix of ones where column == place(row).
  template <class Place>
  std::string write(const std::string& name, Index rows, Index columns, Place place) {
    std::vector<float> matrix(static_cast<size_t>(rows * columns));
    for (Index r = 0; r < rows; ++r) matrix[static_cast<size_t>(r * columns + place(r))] = 1;
    const std::vector<Index> shape = {rows, columns};
    const std::string path = (std::filesystem::path(folder_.path()) / name).string();
    write_npy(path, shape, matrix);
    return path;
  }
  const TemporaryFolder folder_;
};

TEST_F(LinformerFiles, OfThePermutationsOfTheKeysAreFullAttention) {
  const Problem p = problem_of(31);
  ProblemTensors t(p);
  const std::string e = write("e.npy", 31, 31, [](Index r) { return 7 * r % 31; });
  EXPECT_LE(ratio_to_full(*linformer(p, {{"projection", "file"}, {"e", e}}), t), 1);
  EXPECT_LE(ratio_to_full(*linformer(p, {{"projection", "file"}, {"e", e}, {"f", e}}), t), 1);
  const std::string f = write("f.npy", 31, 31, [](Index r) { return r; });
  const auto mixed = linformer(p, {{"projection", "file"}, {"e", e}, {"f", f}});
  EXPECT_GT(ratio_to_full(*mixed, t), 100);
  EXPECT_LE(forward_ratio(*mixed, *mixed, t), 1);
}

TEST_F(LinformerFiles, AreRefusedWithBothShapes) {
  const Problem p = problem_of(31);
  const std::string e = write("e.npy", 4, 30, [](Index r) { return r; });
  const std::string good = write("good.npy", 4, 31, [](Index r) { return r; });
  EXPECT_EQ(refusal(p, {{"projection", "file"}, {"e", e}}),
            "e: " + e + " holds [4, 30], expected [projected_len 4, key_len 31]");
  EXPECT_EQ(refusal(p, {{"projection", "file"}, {"e", good}, {"projected_len", "5"}}),
            "e: " + good + " holds [4, 31], expected [projected_len 5, key_len 31]");
  EXPECT_EQ(refusal(p, {{"projection", "file"}, {"e", good}, {"f", e}}),
            "f: " + e + " holds [4, 30], expected [projected_len 4, key_len 31]");
  EXPECT_EQ(refusal(p, {{"projection", "file"}, {"e", good}, {"f", good}}), "");
  EXPECT_EQ(refusal(p, {{"projection", "file"}}),
            "projection=file needs e, a .npy of [projected_len, key_len]");
  EXPECT_EQ(refusal(p, {{"e", good}}), "e and f are read only with projection=file");
  EXPECT_THROW(refusal(p, {{"projection", "file"}, {"e", "nowhere.npy"}}), IoError);
}

TEST(Linformer, DrawsNumbersOfVarianceOneOverTheProjectedLength) {
  // A query of zeros weighs all projected rows alike: W is the mean of the rows of R.
  Problem p = problem_of(8192);
  p.query_len = 1;
  ProblemTensors t(p);
  std::fill_n(t.queries.floats(), t.queries.size(), 0.0f);
  for (Index k : {1, 16}) {
    const Eigen::MatrixXd w =
        all_weights(*linformer(p, {{"projected_len", std::to_string(k)}}), t.inputs());
    const double variance = 1.0 / static_cast<double>(k * k);
    EXPECT_NEAR(w.mean(), 0, 5 * std::sqrt(variance / 8192));
    EXPECT_NEAR(w.squaredNorm() / 8192 / variance, 1, 5 * std::sqrt(2.0 / 8192));
  }
}

TEST(Linformer, SharesWhatTheModeSays) {
  // One projected row: W is that row of F.
  Problem p = problem_of(9);
  p.num_heads = p.num_kv_heads = 2;
  ProblemTensors t(p);
  const auto f = [&](const char* share, const char* seed, Index head) {
    return all_weights(*linformer(p, {{"projected_len", "1"}, {"share", share}, {"seed", seed}}),
                       t.inputs(), head);
  };
  EXPECT_EQ(f("key_value", "1", 0), f("key_value", "1", 1));
  EXPECT_EQ(f("headwise", "1", 0), f("headwise", "1", 1));
  EXPECT_NE(f("headwise", "1", 0), f("key_value", "1", 0));  // E has the numbers of R, F others
  EXPECT_NE(f("none", "1", 0), f("none", "1", 1));
  EXPECT_NE(f("key_value", "1", 0), f("key_value", "2", 0));
}

TEST(Linformer, TakesTheFirstColumnsForAShorterSequence) {
  const Problem longer = problem_of(12), shorter = problem_of(7);
  ProblemTensors t(longer), u(shorter);
  const OptionTexts one = {{"projected_len", "1"}};
  EXPECT_EQ(all_weights(*linformer(longer, one), t.inputs()).block(0, 0, 1, 7),
            all_weights(*linformer(shorter, one), u.inputs()).topRows(1));
}

TEST(Linformer, CountsPaddingAsZerosThatTakeTheirShare) {
  // Two segments of two keys, the second all padding: its score is 0 like the first's.
  Problem p = problem_of(4, 1);
  p.mask.key_lengths = {2};
  ProblemTensors t(p);
  std::fill_n(t.queries.floats(), t.queries.size(), 0.0f);
  const auto plan = linformer(p, {{"projection", "mean_pool"}, {"projected_len", "2"}});
  const Eigen::MatrixXd w = all_weights(*plan, t.inputs());
  EXPECT_EQ(w(0, 0), 0.25);
  EXPECT_EQ(w(0, 1), 0.25);
  EXPECT_EQ(w(0, 2), 0);
  EXPECT_LE(forward_ratio(*plan, *plan, t), 1);
}

TEST(Linformer, EqualsItsDefinitionForGroupedHeadsAndEveryKind) {
  for (const char* projection : {"gaussian", "mean_pool", "conv"}) {
    for (const char* share : {"none", "headwise", "key_value"}) {
      Problem p = problem_of(101, 9);
      p.batch = 2;
      p.num_heads = 6;
      p.num_kv_heads = 2;
      p.query_len = 40;
      p.value_dim = 5;
      p.mask.key_lengths = {101, 60};
      ProblemTensors t(p);
      const auto plan =
          linformer(p, {{"projection", projection}, {"share", share}, {"projected_len", "13"}});
      EXPECT_LE(forward_ratio(*plan, *plan, t), 1) << projection << " " << share;
    }
  }
}

TEST(Linformer, KeepsTheLawsWithFewRowsOfEveryKind) {
  for (const char* projection : {"gaussian", "mean_pool", "conv"}) {
    for (const char* share : {"none", "headwise"}) {
      expect_conformance(kLinformer, {{"projection", projection}, {"share", share}});
    }
  }
}

TEST(Linformer, RefusesWhatAProjectionCannotKeep) {
  Problem p = problem_of(8);
  p.mask.causal = true;
  EXPECT_NE(refusal(p, {}).find("causal"), std::string::npos);
  p = problem_of(8);
  p.mask.document_ids = {0, 0, 0, 0, 1, 1, 1, 1};
  EXPECT_NE(refusal(p, {}).find("documents"), std::string::npos);
  p = problem_of(8);
  p.mask.alibi_slopes = {1};
  EXPECT_NE(refusal(p, {}).find("ALiBi"), std::string::npos);
  EXPECT_EQ(refusal(problem_of(8), {{"projected_len", "9"}}),
            "projected_len 9 is more than key_len 8: that is no compression");
}

TEST(Linformer, SaysThatWhatIsDrawnIsUntrained) {
  const auto remark = [](const char* projection) {
    return remark_of(kLinformer, Options(kLinformer.options, {{"projection", projection}}));
  };
  EXPECT_EQ(remark("gaussian"), "untrained");
  EXPECT_EQ(remark("conv"), "untrained");
  EXPECT_EQ(remark("mean_pool"), "");
  EXPECT_EQ(remark("file"), "");
}

}  // namespace
}  // namespace longattn
