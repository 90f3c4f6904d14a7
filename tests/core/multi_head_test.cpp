#include "core/multi_head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/LU>
#include <cstring>
#include <vector>

#include "core/blocked_attention.h"
#include "core/dense_schedule.h"
#include "core/error.h"
#include "core/softmax_definition.h"
#include "tests/core/multi_head_testing.h"

namespace longattn {
namespace {

// What a caller puts into the layer: core knows no variant.
class Dense final : public Attention {
 public:
  explicit Dense(const Problem& p) : Attention(p), schedule_(problem(), 16, 32) {}
  std::unique_ptr<Definition> definition(const Inputs& inputs, Index b, Index head) const override {
    return softmax_definition(problem(), inputs, b, head);
  }
  Cost cost(int threads) const override {
    const Problem& p = problem();
    const auto pairs = static_cast<double>(p.batch * p.num_heads * p.query_len * p.key_len);
    return blocked_cost(p, schedule_, pairs, threads);
  }
  Rounding rounding() const override { return blocked_rounding(problem(), schedule_.key_block()); }

 private:
  void forward_impl(const Inputs& in, const Outputs& out, Context& context) const override {
    blocked_attention(problem(), in, schedule_, out, context);
  }
  const DenseSchedule schedule_;
};

constexpr Index kModel = 44;

Problem grouped_problem() {
  Problem p;
  p.batch = 2;
  p.num_heads = 4;
  p.num_kv_heads = 2;
  p.query_len = 37;
  p.key_len = 53;
  p.head_dim = 12;
  p.value_dim = 9;
  p.mask.causal = true;
  return p;
}

void run(const MultiHead& layer, LayerTensors& t, int threads = 1) {
  Context context(threads);
  layer.forward(t.inputs(), t.outputs(), context);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() &&
         std::memcmp(a.floats(), b.floats(), static_cast<size_t>(a.bytes())) == 0;
}

TEST(MultiHead, ConcatenatedEqualsTheSumOverHeads) {
  for (bool causal : {false, true}) {
    Problem p = grouped_problem();
    p.mask.causal = causal;
    LayerTensors t(p, kModel);
    const Dense attention(p);
    const MultiHead layer(attention, kModel, t.weights());
    run(layer, t);
    for (Index b = 0; b < p.batch; ++b) {
      const Bounded expected = expected_update(layer, t, b);
      expect_within(to_eigen(t.update.view(), b), expected.value, expected.bound);
    }
  }
}

TEST(MultiHead, WithAScaleTwoPercentTooLargeOrTheHeadsSwappedLeavesTheBound) {
  const Problem p = grouped_problem();
  LayerTensors t(p, kModel), swapped(p, kModel);
  const Dense attention(p);
  const MultiHead layer(attention, kModel, t.weights());
  Problem wrong = p;
  wrong.scale = 1.02 * p.effective_scale();
  const Dense steeper(wrong);
  run(MultiHead(steeper, kModel, t.weights()), t);
  float* up = swapped.up.floats();  // the value up of heads 0 and 1
  std::swap_ranges(up, up + p.value_dim * kModel, up + p.value_dim * kModel);
  run(MultiHead(attention, kModel, swapped.weights()), swapped);
  for (Index b = 0; b < p.batch; ++b) {
    const Bounded expected = expected_update(layer, t, b);
    for (const Tensor* update : {&t.update, &swapped.update}) {
      const Eigen::MatrixXd off = (to_eigen(update->view(), b) - expected.value).cwiseAbs();
      EXPECT_GT((off - expected.bound).maxCoeff(), 0);
    }
  }
}

TEST(MultiHead, EqualsLayersOfOneHeadEachAdded) {
  const Problem p = grouped_problem();
  LayerTensors t(p, kModel);
  const Dense attention(p);
  const MultiHead layer(attention, kModel, t.weights());
  run(layer, t);
  Problem single = p;
  single.num_heads = single.num_kv_heads = 1;
  const Dense one(single);
  std::vector<Eigen::MatrixXd> sums(2, Eigen::MatrixXd::Zero(p.query_len, kModel));
  for (Index h = 0; h < p.num_heads; ++h) {
    const MultiHeadWeights all = t.weights();
    const Index g = p.kv_head(h);
    const MultiHeadWeights head = {
        {all.query.data + h * p.head_dim, kModel, p.head_dim, all.query.stride},
        {all.key.data + g * p.head_dim, kModel, p.head_dim, all.key.stride},
        {all.value_down.data + g * p.value_dim, kModel, p.value_dim, all.value_down.stride},
        {all.value_up.data + h * p.value_dim * kModel, p.value_dim, kModel, kModel}};
    Tensor update({p.batch, 1, p.query_len, kModel});
    Context context(1);
    MultiHead(one, kModel, head).forward(t.inputs(), {update.mutable_view(), {}}, context);
    for (Index b = 0; b < p.batch; ++b) sums[static_cast<size_t>(b)] += to_eigen(update.view(), b);
  }
  for (Index b = 0; b < p.batch; ++b) {
    const Bounded expected = expected_update(layer, t, b);
    expect_within(to_eigen(t.update.view(), b), sums[static_cast<size_t>(b)], 2 * expected.bound);
  }
}

TEST(MultiHead, FactoredValueMapEqualsTheMergedOneOfFullRankForm) {
  const Problem p = grouped_problem();
  LayerTensors t(p, kModel);
  const Dense attention(p);
  const MultiHead layer(attention, kModel, t.weights());
  run(layer, t);
  const MultiHeadWeights w = t.weights();
  const auto times_exact = [](const Eigen::MatrixXd& a, const Eigen::MatrixXd& b) -> Bounded {
    const Eigen::MatrixXd product = a * b;
    return {product, Eigen::MatrixXd::Zero(product.rows(), product.cols())};
  };
  for (Index b = 0; b < p.batch; ++b) {
    const Eigen::MatrixXd e = to_eigen(t.embeddings.view(), b), c = to_eigen(t.context.view(), b);
    Eigen::MatrixXd merged = Eigen::MatrixXd::Zero(p.query_len, kModel);
    for (Index h = 0; h < p.num_heads; ++h) {
      const Index g = p.kv_head(h);
      const Eigen::MatrixXd map =  // model_dim x model_dim
          to_eigen(w.value_down).middleCols(g * p.value_dim, p.value_dim) *
          to_eigen(w.value_up).middleRows(h * p.value_dim, p.value_dim);
      EXPECT_EQ(Eigen::FullPivLU<Eigen::MatrixXd>(map).rank(), p.value_dim);
      merged += expected_head(
                    p, b, times_exact(e, to_eigen(w.query).middleCols(h * p.head_dim, p.head_dim)),
                    times_exact(c, to_eigen(w.key).middleCols(g * p.head_dim, p.head_dim)),
                    times_exact(c, map), attention.rounding(), {})
                    .value;
    }
    const Bounded expected = expected_update(layer, t, b);
    // Both in double: the same bound with the roundings of double, 2^-29 of float32's.
    expect_within(merged, expected.value, 0x1p-29 * expected.bound);
    expect_within(to_eigen(t.update.view(), b), merged, expected.bound);
  }
}

TEST(MultiHead, OfOneHeadWithAnIdentityUpIsSingleHeadAttention) {
  Problem p = grouped_problem();
  p.num_heads = p.num_kv_heads = 1;
  p.value_dim = kModel;
  LayerTensors t(p, kModel);
  std::fill_n(t.up.floats(), t.up.size(), 0.0f);
  for (Index c = 0; c < kModel; ++c) t.up.floats()[c * kModel + c] = 1;
  const Dense attention(p);
  run(MultiHead(attention, kModel, t.weights()), t);

  ProblemTensors single(p);
  Context context(1);
  const auto project = [&](const Tensor& from, const Tensor& weight, Tensor& to) {
    const Index rows = p.batch * from.shape()[2], columns = weight.shape()[3];
    matmul({from.floats(), rows, kModel, kModel}, LayerTensors::matrix(weight), 1.0f,
           {to.floats(), rows, columns, columns}, context);
  };
  project(t.embeddings, t.query, single.queries);
  project(t.context, t.key, single.keys);
  project(t.context, t.down, single.values);
  attention.forward(single.inputs(), single.output_alone(), context);
  for (Index n = 0; n < t.update.size(); ++n) {
    ASSERT_EQ(t.update.floats()[n], single.output.floats()[n]) << n;
  }
}

// Columns of kv head g repeated for every query head that reads it.
Tensor repeated(const Tensor& weight, const Problem& p, Index dim) {
  Tensor out({1, 1, kModel, p.num_heads * dim});
  for (Index r = 0; r < kModel; ++r) {
    for (Index h = 0; h < p.num_heads; ++h) {
      std::copy_n(weight.floats() + r * p.num_kv_heads * dim + p.kv_head(h) * dim, dim,
                  out.floats() + r * p.num_heads * dim + h * dim);
    }
  }
  return out;
}

TEST(MultiHead, WithGroupedHeadsEqualsKvHeadsRepeated) {
  const Problem p = grouped_problem();
  LayerTensors t(p, kModel), many(p, kModel);
  const Dense attention(p);
  const MultiHead layer(attention, kModel, t.weights());
  run(layer, t);
  many.problem.num_kv_heads = p.num_heads;
  many.key = repeated(t.key, p, p.head_dim);
  many.down = repeated(t.down, p, p.value_dim);
  const Dense every(many.problem);
  run(MultiHead(every, kModel, many.weights()), many);
  for (Index b = 0; b < p.batch; ++b) {
    expect_within(to_eigen(many.update.view(), b), to_eigen(t.update.view(), b),
                  2 * expected_update(layer, t, b).bound);
  }
}

TEST(MultiHead, OfTheLastQueryAloneEqualsTheLastRow) {
  const Problem p = grouped_problem();
  LayerTensors t(p, kModel);
  const Dense attention(p);
  const MultiHead layer(attention, kModel, t.weights());
  run(layer, t);
  Problem last = p;
  last.query_len = 1;
  const Dense decode(last);
  ConstTensorView embeddings = t.embeddings.view();
  embeddings.data = embeddings.row(0, 0, p.query_len - 1);
  embeddings.shape[2] = 1;
  Tensor update({p.batch, 1, 1, kModel});
  Context context(1);
  MultiHead(decode, kModel, t.weights())
      .forward({embeddings, t.context.view()}, {update.mutable_view(), {}}, context);
  for (Index b = 0; b < p.batch; ++b) {
    expect_within(to_eigen(update.view(), b), to_eigen(t.update.view(), b).bottomRows(1),
                  2 * expected_update(layer, t, b).bound.bottomRows(1));
  }
}

TEST(MultiHead, HasTheSameBitsForAnyNumberOfThreads) {
  const Problem p = grouped_problem();
  LayerTensors one(p, kModel), two(p, kModel);
  const Dense attention(p);
  run(MultiHead(attention, kModel, one.weights()), one, 1);
  run(MultiHead(attention, kModel, two.weights()), two, 2);
  EXPECT_TRUE(same_bits(one.update, two.update));
  EXPECT_TRUE(same_bits(one.residual, two.residual));
}

TEST(MultiHead, AddsItsUpdateToTheEmbeddingsAlsoInPlace) {
  const Problem p = grouped_problem();
  LayerTensors t(p, kModel), in_place(p, kModel);
  const Dense attention(p);
  run(MultiHead(attention, kModel, t.weights()), t);
  for (Index n = 0; n < t.update.size(); ++n) {
    ASSERT_EQ(t.residual.floats()[n], t.embeddings.floats()[n] + t.update.floats()[n]);
  }
  Context context(1);
  MultiHead(attention, kModel, in_place.weights())
      .forward(in_place.inputs(),
               {in_place.update.mutable_view(), in_place.embeddings.mutable_view()}, context);
  EXPECT_TRUE(same_bits(in_place.embeddings, t.residual));
}

TEST(MultiHead, ReadsAndWritesStridedRowsAsIfTheyWereDense) {
  const Problem p = grouped_problem();
  LayerTensors t(p, kModel);
  const Dense attention(p);
  const MultiHead layer(attention, kModel, t.weights());
  run(layer, t);
  // Rows kModel + 3 apart, and one row more between batch entries, so they are not evenly spaced.
  const Index stride = kModel + 3, gap = (p.query_len + 1) * stride;
  std::vector<float> in(static_cast<size_t>(p.batch * gap), std::nanf(""));
  std::vector<float> out = in;
  for (Index b = 0; b < p.batch; ++b) {
    for (Index i = 0; i < p.query_len; ++i) {
      std::copy_n(t.embeddings.view().float_row(b, 0, i), kModel, in.data() + b * gap + i * stride);
    }
  }
  const std::array<Index, 4> shape = t.embeddings.shape();
  const std::array<Index, 3> strides = {gap, 0, stride};
  const TensorView update{out.data(), shape, strides};
  Context context(1);
  layer.forward({{in.data(), DType::float32, shape, strides}, t.context.view()}, {update, {}},
                context);
  for (Index b = 0; b < p.batch; ++b) {
    for (Index i = 0; i < p.query_len; ++i) {
      for (Index c = 0; c < stride; ++c) {
        const float found = update.row(b, 0, i)[c];
        if (c < kModel) {
          ASSERT_EQ(found, t.update.view().float_row(b, 0, i)[c]);
        } else {
          ASSERT_TRUE(std::isnan(found)) << "wrote between rows";
        }
      }
    }
  }
}

TEST(MultiHead, CountsItsWorkspaceAndTakesNoMoreOnASecondCall) {
  for (int threads : {1, 2}) {
    const Problem p = grouped_problem();
    LayerTensors t(p, kModel);
    const Dense attention(p);
    const MultiHead layer(attention, kModel, t.weights());
    Context context(threads);
    layer.forward(t.inputs(), t.outputs(), context);
    const Index peak = context.workspace().peak_bytes();
    EXPECT_LE(static_cast<double>(peak), layer.cost(threads).workspace_bytes);
    EXPECT_GE(static_cast<double>(peak), 0.9 * layer.cost(threads).workspace_bytes);
    EXPECT_EQ(context.workspace().bytes(), 0);
    layer.forward(t.inputs(), t.outputs(), context);
    EXPECT_EQ(context.workspace().peak_bytes(), peak);
  }
}

TEST(MultiHead, CostsTheProductsOfTheTextbookBesideItsAttention) {
  Problem p;  // 8 N model^2 when heads times head_dim is model_dim
  p.num_heads = p.num_kv_heads = 4;
  p.query_len = p.key_len = 10;
  p.head_dim = p.value_dim = 16;
  const LayerTensors t(p, 64);
  const Dense attention(p);
  EXPECT_EQ(MultiHead(attention, 64, t.weights()).cost(1).flops - attention.cost(1).flops,
            8.0 * 10 * 64 * 64);
}

TEST(MultiHead, OfNoQueriesDoesNothingAndOfNoKeysIsZero) {
  for (const auto& [query_len, key_len] : {std::pair<Index, Index>{0, 5}, {5, 0}}) {
    Problem p = grouped_problem();
    p.query_len = query_len;
    p.key_len = key_len;
    LayerTensors t(p, kModel);
    std::fill_n(t.update.floats(), t.update.size(), 1.0f);
    const Dense attention(p);
    run(MultiHead(attention, kModel, t.weights()), t);
    for (Index n = 0; n < t.update.size(); ++n) ASSERT_EQ(t.update.floats()[n], 0);
  }
}

template <class Body>
std::string message_of(Body body) {
  try {
    body();
  } catch (const ShapeError& error) {
    return error.what();
  }
  return "no ShapeError";
}

TEST(MultiHead, TellsBothNumbersOfAShapeThatDoesNotFit) {
  const Problem p = grouped_problem();
  LayerTensors t(p, kModel);
  const Dense attention(p);
  const auto making = [&](const MultiHeadWeights& weights) {
    return message_of([&] { MultiHead(attention, kModel, weights); });
  };
  MultiHeadWeights w = t.weights();
  w.query.columns = 47;
  EXPECT_EQ(making(w), "query weights: 47 columns, expected 48");
  w = t.weights();
  w.key.rows = 43;
  EXPECT_EQ(making(w), "key weights: 43 rows, expected 44");
  w = t.weights();
  w.value_up.rows = 18;
  EXPECT_EQ(making(w), "value_up weights: 18 rows, expected 36");
  w = t.weights();
  w.value_down.stride = 17;
  EXPECT_EQ(making(w), "value_down weights: stride 17, fewer than its 18 columns");

  const MultiHead layer(attention, kModel, t.weights());
  Context context(1);
  MultiHeadInputs in = t.inputs();
  in.context.shape[2] = 52;
  EXPECT_EQ(message_of([&] { layer.forward(in, t.outputs(), context); }),
            "context: len 52, expected 53");
  MultiHeadOutputs out = t.outputs();
  out.update.shape[3] = 40;
  EXPECT_EQ(message_of([&] { layer.forward(t.inputs(), out, context); }),
            "update: model_dim 40, expected 44");
  Problem half = p;
  half.dtype = DType::bfloat16;
  const Dense narrow(half);
  EXPECT_EQ(message_of([&] { MultiHead(narrow, kModel, t.weights()); }),
            "attention: bfloat16 elements, a layer projects to float32");
}

}  // namespace
}  // namespace longattn
