#include "core/visibility.h"

#include <gtest/gtest.h>

#include <vector>

namespace longattn {
namespace {

// Every Problem of a small family: causal or not, padded, documents, both orders of lengths.
std::vector<Problem> small_problems() {
  std::vector<Problem> problems;
  for (Index query_len : {1, 5, 9}) {
    for (Index key_len : {1, 6, 9}) {
      for (bool causal : {false, true}) {
        for (int kind = 0; kind < 4; ++kind) {
          Problem p;
          p.batch = 2;
          p.num_heads = p.num_kv_heads = 2;
          p.query_len = query_len;
          p.key_len = key_len;
          p.mask.causal = causal;
          if (kind == 1) p.mask.key_lengths = {key_len / 2, key_len};
          if (kind >= 2) {
            if (query_len > key_len) continue;
            for (Index j = 0; j < key_len; ++j) {
              p.mask.document_ids.push_back(kind == 2 ? j / 3 : j % 2);  // contiguous, interleaved
            }
          }
          problems.push_back(p);
        }
      }
    }
  }
  return problems;
}

struct MaskBuffers {
  MaskBuffers(Index rows, Index columns)
      : begin(rows), end(rows), bits(rows * TileMask::words(columns)), bias(rows * columns) {
    mask.begin = begin;
    mask.end = end;
    mask.bits = bits;
    mask.bias = bias;
    mask.reset(rows, columns);
  }
  std::vector<Index> begin, end;
  std::vector<std::uint64_t> bits;
  std::vector<float> bias;
  TileMask mask;
};

void expect_mask_equals_definition(const Problem& p, const TokenSet& queries,
                                   const TokenSet& keys) {
  for (Index b = 0; b < p.batch; ++b) {
    MaskBuffers buffers(queries.count, keys.count);
    apply_mask(p, {b, 0, queries, keys}, buffers.mask);
    bool all = true;
    const KeyRange range = visible_range(p, b, queries);
    for (Index r = 0; r < queries.count; ++r) {
      for (Index c = 0; c < keys.count; ++c) {
        const bool visible = p.visible(b, queries[r], keys[c]);
        all = all && visible;
        ASSERT_EQ(buffers.mask.sees(r, c), visible) << queries[r] << " sees " << keys[c];
        if (visible) {
          ASSERT_GE(keys[c], range.begin);
          ASSERT_LT(keys[c], range.end);
        }
      }
    }
    if (fully_visible(p, b, queries, keys)) {
      EXPECT_TRUE(all);
    }
  }
}

TEST(ApplyMask, ShowsExactlyWhatTheProblemShows) {
  for (const Problem& p : small_problems()) {
    expect_mask_equals_definition(p, {0, p.query_len}, {0, p.key_len});
    const std::vector<Index> some = {0, p.key_len / 2};
    if (p.key_len >= 2) {
      expect_mask_equals_definition(p, {0, (p.query_len + 1) / 2, 2},
                                    {0, static_cast<Index>(some.size()), 1, some.data()});
    }
    expect_mask_equals_definition(p, {0, p.query_len}, {p.key_len - 1, 1, 3});
  }
}

TEST(VisiblePairs, EqualsTheCountByDefinition) {
  for (const Problem& p : small_problems()) {
    double counted = 0;
    for (Index b = 0; b < p.batch; ++b) {
      for (Index i = 0; i < p.query_len; ++i) {
        for (Index j = 0; j < p.key_len; ++j) counted += p.visible(b, i, j) ? 1 : 0;
      }
    }
    EXPECT_EQ(visible_pairs(p), counted * static_cast<double>(p.num_heads));
  }
}

TEST(TokenSet, CountsWhatLiesBelowABound) {
  const std::vector<Index> list = {1, 4, 9};
  const TokenSet listed{0, 3, 1, list.data()}, strided{2, 4, 3};  // 2 5 8 11
  for (Index bound = -2; bound < 14; ++bound) {
    Index in_list = 0, in_stride = 0;
    for (Index n = 0; n < 3; ++n) in_list += listed[n] < bound ? 1 : 0;
    for (Index n = 0; n < 4; ++n) in_stride += strided[n] < bound ? 1 : 0;
    EXPECT_EQ(listed.count_below(bound), in_list);
    EXPECT_EQ(strided.count_below(bound), in_stride);
  }
  EXPECT_EQ(strided.slice(1, 2)[1], 8);
  EXPECT_EQ(listed.slice(1, 2)[0], 4);
}

}  // namespace
}  // namespace longattn
