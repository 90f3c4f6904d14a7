#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/blocked_attention.h"
#include "core/dense_schedule.h"
#include "tests/core/blocked_test.h"

// Sources that are not one run of keys, and storage other than float32.
namespace longattn {
namespace {

// Keys by residue: a strided source for even keys, a list for odd ones; together, all keys.
class InterleavedSchedule final : public DenseSchedule {
 public:
  InterleavedSchedule(const Problem& p, Index query_block, Index key_block)
      : DenseSchedule(p, query_block, key_block), key_len_(p.key_len) {
    for (Index j = 1; j < p.key_len; j += 2) odd_.push_back(j);
  }
  Index max_sources() const override { return 2; }
  Index sources(Index, Index, Index, std::span<KeySource> out) const override {
    out[0] = {{0, (key_len_ + 1) / 2, 2, nullptr}, true};
    out[1] = {{0, static_cast<Index>(odd_.size()), 1, odd_.data()}, true};
    return 2;
  }
  bool shares_packed_keys() const override { return false; }

 private:
  Index key_len_;
  std::vector<Index> odd_;
};

TEST(BlockedAttention, OverStridedAndListedKeysEqualsTheDefinition) {
  for (bool causal : {false, true}) {
    Problem p = small_problem(50, 131);
    p.mask.causal = causal;
    ProblemTensors t(p);
    Context context(2);
    const InterleavedSchedule schedule(p, 17, 40);
    blocked_attention(p, t.inputs(), schedule, t.output_alone(), context);
    expect_rows_equal_definition(p, t, t.output, 32);
    EXPECT_EQ(context.workspace().peak_bytes(), blocked_workspace_bytes(p, schedule, 2));
  }
}

// The first keys alone.
class FirstKeysSchedule final : public DenseSchedule {
 public:
  static constexpr Index kKeys = 500;
  FirstKeysSchedule(const Problem& p, Index query_block, Index key_block)
      : DenseSchedule(p, query_block, key_block) {}
  Index sources(Index, Index, Index, std::span<KeySource> out) const override {
    out[0] = {{0, kKeys}, false};
    return 1;
  }
};

// Rows of 16 floats in memory that may be read as far as `rows`, whole pages, and no further.
class GuardedRows {
 public:
  GuardedRows(Index all, Index rows)
      : bytes_(static_cast<size_t>(all) * kRow),
        memory_(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
        shape_{1, 1, all, 16} {
    std::fill_n(static_cast<float*>(memory_), rows * 16, 0.5f);
    const size_t open = static_cast<size_t>(rows) * kRow;
    mprotect(static_cast<std::byte*>(memory_) + open, bytes_ - open, PROT_NONE);
  }
  ~GuardedRows() { munmap(memory_, bytes_); }
  GuardedRows(const GuardedRows&) = delete;
  GuardedRows& operator=(const GuardedRows&) = delete;
  ConstTensorView view() const { return {memory_, DType::float32, shape_, dense_strides(shape_)}; }

 private:
  static constexpr size_t kRow = 16 * sizeof(float);
  const size_t bytes_;
  void* const memory_;
  const std::array<Index, 4> shape_;
};

// Whoever packed them might still be at it when the memory has its next user.
TEST(BlockedAttention, TouchesNoKeysThatNoBlockReads) {
  Problem p = small_problem(300, 4096);
  p.num_heads = 1;
  p.head_dim = p.value_dim = 16;
  const Tensor queries({1, 1, p.query_len, 16});
  Tensor output({1, 1, p.query_len, 16});
  const GuardedRows keys(p.key_len, 2048), values(p.key_len, 2048);
  Context context(2);
  const FirstKeysSchedule schedule(p, 64, 128);
  ASSERT_TRUE(schedule.shares_packed_keys());
  blocked_attention(p, {queries.view(), keys.view(), values.view(), {}}, schedule,
                    {output.mutable_view(), {}}, context);
  for (Index n = 0; n < output.size(); ++n) ASSERT_FLOAT_EQ(output.floats()[n], 0.5f);
}

// Sources of every kind, most of them shorter than a panel, which share rows of scores; the first
// and the list hide some keys by single bits. Keys 200.. are in none.
class ScatteredSchedule final : public DenseSchedule {
 public:
  ScatteredSchedule(const Problem& p, Index query_block, Index key_block)
      : DenseSchedule(p, query_block, key_block), problem_(p) {}
  static bool allowed(Index i, Index j) {
    const bool hides = j < 37 || (j >= 150 && j < 200);
    return j < 200 && (!hides || (i + j) % 5 != 0);
  }
  Index max_sources() const override { return 12; }
  Index sources(Index, Index, Index, std::span<KeySource> out) const override {
    const bool biased = !problem_.mask.alibi_slopes.empty();
    Index count = 0;
    const auto add = [&](const TokenSet& keys, bool partial) {
      out[static_cast<size_t>(count++)] = {keys, partial || biased};
    };
    add({0, 37}, true);
    for (Index begin = 37; begin < 100; begin += 9) add({begin, 9}, false);
    add({100, 25, 2, nullptr}, false);
    add({101, 25, 2, nullptr}, false);
    add({0, 50, 1, kList.data()}, true);
    return count;
  }
  void mask(const Tile& tile, TileMask& mask) const override {
    DenseSchedule::mask(tile, mask);
    for (Index r = 0; r < mask.rows; ++r) {
      for (Index c = 0; c < mask.columns; ++c) {
        if (!allowed(tile.queries[r], tile.keys[c])) mask.hide(r, c);
      }
    }
  }

 private:
  static constexpr std::array<Index, 50> kList = [] {
    std::array<Index, 50> list{};
    for (Index n = 0; n < 50; ++n) list[static_cast<size_t>(n)] = 150 + n;
    return list;
  }();
  const Problem& problem_;
};

TEST(BlockedAttention, OverScatteredSourcesSideBySideEqualsTheDefinition) {
  for (bool alibi : {false, true}) {
    for (DType dtype : {DType::float32, DType::bfloat16}) {
      Problem p = small_problem(53, 210);
      if (alibi) p.mask.alibi_slopes = {0.5, 0.125};
      ProblemTensors t(p);
      const Narrowed narrowed(t, dtype);
      Problem stored = p;
      stored.dtype = dtype;
      for (Index key_block : {32, 100, 384}) {
        const ScatteredSchedule schedule(stored, 17, key_block);
        Context context(2);
        blocked_attention(stored, narrowed.inputs(), schedule, t.output_alone(), context);
        expect_rows_equal_definition(p, t, t.output, 32, ScatteredSchedule::allowed, stored);
        EXPECT_EQ(context.workspace().peak_bytes(), blocked_workspace_bytes(stored, schedule, 2));
      }
    }
  }
}

// A value hidden from some queries must not reach them even as 0 * NaN, in whichever source.
TEST(BlockedAttention, KeepsOddValuesOfScatteredSourcesFromQueriesThatDoNotSeeThem) {
  const Problem p = small_problem(53, 210);
  for (Index key : {10, 20, 170}) {
    ProblemTensors t(p);
    t.values.floats()[key * p.value_dim + 3] = std::numeric_limits<float>::infinity();
    const ScatteredSchedule schedule(p, 17, 384);
    Context context(1);
    blocked_attention(p, t.inputs(), schedule, t.output_alone(), context);
    for (Index h = 0; h < p.num_heads; ++h) {
      for (Index i = 0; i < p.query_len; ++i) {
        const float* row = t.output.view().float_row(0, h, i);
        EXPECT_EQ(std::isinf(row[3]), ScatteredSchedule::allowed(i, key)) << i << " " << key;
        EXPECT_TRUE(std::isfinite(row[2]) && std::isfinite(row[4])) << i << " " << key;
      }
    }
  }
}

TEST(BlockedAttention, ReadsFloat16AsTheSameNumbersInFloat) {
  Problem p = small_problem(37, 70);
  ProblemTensors t(p);
  const Narrowed narrowed(t, DType::float16);
  Context context(1);
  const DenseSchedule schedule(p, 16, 32);
  blocked_attention(p, t.inputs(), schedule, t.output_alone(), context);
  Problem stored = p;
  stored.dtype = DType::float16;
  Tensor output({1, 2, 37, 36});
  blocked_attention(stored, narrowed.inputs(), schedule, {output.mutable_view(), {}}, context);
  EXPECT_EQ(std::memcmp(output.floats(), t.output.floats(), static_cast<size_t>(output.bytes())),
            0);
}

// Odd sizes, so that words of two elements are cut everywhere; negative and zero scales, a bias.
TEST(BlockedAttention, MultipliesBfloat16InPairsToWithinTheirRounding) {
  for (Index head_dim : {1, 7, 20}) {
    for (double scale : {0.3, 0.0, -0.3}) {
      for (bool alibi : {false, true}) {
        Problem p = small_problem(37, 71);
        p.head_dim = head_dim;
        p.value_dim = 9;
        p.scale = scale;
        p.mask.causal = true;
        if (alibi) p.mask.alibi_slopes = {0.5, 0.125};
        ProblemTensors t(p);
        const Narrowed narrowed(t, DType::bfloat16);
        Context context(2);
        Problem stored = p;
        stored.dtype = DType::bfloat16;
        const InterleavedSchedule schedule(stored, 16, 33);
        blocked_attention(stored, narrowed.inputs(), schedule, t.output_alone(), context);
        expect_rows_equal_definition(p, t, t.output, 33, {}, stored);
      }
    }
  }
}

// The weights are rounded alike above and below the fraction bar.
TEST(BlockedAttention, GivesConstantValuesBackExactlyInBfloat16) {
  Problem p = small_problem(19, 300);
  ProblemTensors t(p);
  std::fill_n(t.values.floats(), t.values.size(), 1.0f);
  const Narrowed narrowed(t, DType::bfloat16);
  Context context(1);
  p.dtype = DType::bfloat16;
  const DenseSchedule schedule(p, 16, 64);
  blocked_attention(p, narrowed.inputs(), schedule, t.output_alone(), context);
  for (Index n = 0; n < t.output.size(); ++n) EXPECT_NEAR(t.output.floats()[n], 1, 1e-5);
}

}  // namespace
}  // namespace longattn
