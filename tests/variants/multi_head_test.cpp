#include "core/multi_head.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/core/multi_head_testing.h"
#include "variants/registry.h"

namespace longattn {
namespace {

// Around a prefix_stable variant, one causal pass is the training signal of every prefix at once:
// its row n - 1 is what the layer predicts from the first n tokens alone.
void expect_one_pass_equals_every_prefix(
    std::string_view name, const std::vector<std::pair<std::string, std::string>>& settings,
    const std::function<bool(Index, Index)>& allowed) {
  constexpr Index kLen = 41, kModel = 24;
  const Variant& variant = require_variant(builtin_variants(), name);
  const Options options(variant.options, settings);
  Problem p;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.query_len = p.key_len = kLen;
  p.head_dim = 8;
  p.value_dim = 5;
  p.mask.causal = true;
  ASSERT_TRUE(variant.traits(p, options).prefix_stable);
  LayerTensors t(p, kModel);
  t.context = gaussian_tensor(t.embeddings.shape(), 1);  // the embeddings: self-attention
  const auto attention = make_attention(variant, p, options);
  const MultiHead layer(*attention, kModel, t.weights());
  Context context(1);
  layer.forward(t.inputs(), t.outputs(), context);
  const Bounded expected = expected_update(layer, t, 0, allowed);
  expect_within(to_eigen(t.update.view(), 0), expected.value, expected.bound);
  for (Index n = 1; n <= kLen; ++n) {
    Problem prefix = p;
    prefix.query_len = prefix.key_len = n;
    const auto shorter = make_attention(variant, prefix, options);
    ConstTensorView embeddings = t.embeddings.view();
    embeddings.shape[2] = n;
    Tensor update({1, 1, n, kModel});
    MultiHead(*shorter, kModel, t.weights())
        .forward({embeddings, embeddings}, {update.mutable_view(), {}}, context);
    expect_within(to_eigen(update.view(), 0).bottomRows(1),
                  to_eigen(t.update.view(), 0).middleRows(n - 1, 1),
                  2 * expected.bound.middleRows(n - 1, 1));
  }
}

TEST(MultiHeadAroundVariants, PredictsEveryPrefixInOneCausalPassOfBlockwise) {
  expect_one_pass_equals_every_prefix("blockwise", {{"query_block", "8"}, {"key_block", "16"}}, {});
}

TEST(MultiHeadAroundVariants, PredictsEveryPrefixInOneCausalPassOfLongformer) {
  expect_one_pass_equals_every_prefix("longformer", {{"window", "6"}},
                                      [](Index i, Index j) { return std::abs(i - j) <= 6; });
}

}  // namespace
}  // namespace longattn
