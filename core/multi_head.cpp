#include "core/multi_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/error.h"

namespace longattn {
namespace {

void check_matrix(std::string_view name, const ConstMatrix& matrix, Index rows, Index columns) {
  if (matrix.rows != rows) {
    throw ShapeError(fmt::format("{}: {} rows, expected {}", name, matrix.rows, rows));
  }
  if (matrix.columns != columns) {
    throw ShapeError(fmt::format("{}: {} columns, expected {}", name, matrix.columns, columns));
  }
  if (matrix.stride < columns && rows > 1) {
    throw ShapeError(
        fmt::format("{}: stride {}, fewer than its {} columns", name, matrix.stride, columns));
  }
  if (matrix.data == nullptr && rows * columns > 0) {
    throw ShapeError(fmt::format("{}: no data", name));
  }
}

void check_embeddings(std::string_view name, const ConstTensorView& view,
                      const std::array<Index, 4>& expected) {
  static constexpr std::array<const char*, 4> kAxis = {"batch", "heads", "len", "model_dim"};
  for (size_t axis = 0; axis < 4; ++axis) {
    if (view.shape[axis] != expected[axis]) {
      throw ShapeError(fmt::format("{}: {} {}, expected {}", name, kAxis[axis], view.shape[axis],
                                   expected[axis]));
    }
  }
  if (view.dtype != DType::float32) {
    throw ShapeError(fmt::format("{}: {} elements, expected float32", name, to_string(view.dtype)));
  }
  if (view.data == nullptr && expected[0] * expected[2] * expected[3] > 0) {
    throw ShapeError(fmt::format("{}: no data", name));
  }
}

// Whether the rows of all batch entries lie at one distance, so that one product takes them all.
bool rows_evenly_spaced(const std::array<Index, 4>& shape, const std::array<Index, 3>& strides) {
  return shape[0] == 1 || strides[0] == shape[2] * strides[2];
}

// target = source weight, row by row of [batch, 1, len, dim]. An element's bits depend on its row
// alone, so how rows are gathered into products does not matter.
void project(const ConstTensorView& source, const ConstMatrix& weight, const TensorView& target,
             Context& context) {
  const bool together = rows_evenly_spaced(source.shape, source.strides) &&
                        rows_evenly_spaced(target.shape, target.strides);
  const Index products = together ? 1 : source.batch();
  const Index rows = together ? source.batch() * source.len() : source.len();
  if (rows == 0 || weight.columns == 0) return;
  for (Index b = 0; b < products; ++b) {
    matmul({source.float_row(b, 0, 0), rows, source.dim(), source.strides[2]}, weight, 1.0f,
           {target.row(b, 0, 0), rows, target.dim(), target.strides[2]}, context);
  }
}

// [batch, 1, len, heads * dim] scratch: a projection writes it whole, the variant sees its heads.
TensorView take(Workspace& workspace, Index batch, Index len, Index columns) {
  const std::array<Index, 4> shape = {batch, 1, len, columns};
  return {workspace.take<float>(batch * len * columns).data(), shape, dense_strides(shape)};
}

TensorView split_heads(const TensorView& whole, Index heads, Index dim) {
  return {whole.data,
          {whole.batch(), heads, whole.len(), dim},
          {whole.len() * whole.dim(), dim, whole.dim()}};
}

void add(const ConstTensorView& embeddings, const TensorView& update, const TensorView& sum,
         ThreadArena& arena) {
  constexpr Index kRows = 64;
  const Index blocks = (update.len() + kRows - 1) / kRows;
  arena.for_each(update.batch() * blocks, [&](Index task, int) {
    const Index b = task / blocks, begin = task % blocks * kRows;
    for (Index i = begin; i < std::min(begin + kRows, update.len()); ++i) {
      const float* e = embeddings.float_row(b, 0, i);
      const float* d = update.row(b, 0, i);
      float* out = sum.row(b, 0, i);
      for (Index c = 0; c < update.dim(); ++c) out[c] = e[c] + d[c];
    }
  });
}

}  // namespace

MultiHead::MultiHead(const Attention& attention, Index model_dim, const MultiHeadWeights& weights)
    : attention_(attention), model_dim_(model_dim), weights_(weights) {
  const Problem& p = attention.problem();
  if (p.dtype != DType::float32) {
    throw ShapeError(
        fmt::format("attention: {} elements, a layer projects to float32", to_string(p.dtype)));
  }
  if (model_dim < 1) throw ShapeError(fmt::format("model_dim: {}, at least 1", model_dim));
  check_matrix("query weights", weights.query, model_dim, p.num_heads * p.head_dim);
  check_matrix("key weights", weights.key, model_dim, p.num_kv_heads * p.head_dim);
  check_matrix("value_down weights", weights.value_down, model_dim, p.num_kv_heads * p.value_dim);
  check_matrix("value_up weights", weights.value_up, p.num_heads * p.value_dim, model_dim);
}

void MultiHead::forward(const MultiHeadInputs& inputs, const MultiHeadOutputs& outputs,
                        Context& context) const {
  const Problem& p = attention_.problem();
  const std::array<Index, 4> updated = {p.batch, 1, p.query_len, model_dim_};
  check_embeddings("embeddings", inputs.embeddings, updated);
  check_embeddings("context", inputs.context, {p.batch, 1, p.key_len, model_dim_});
  check_embeddings("update", outputs.update, updated);
  if (!outputs.residual.empty()) check_embeddings("residual", outputs.residual, updated);
  if (p.batch == 0 || p.query_len == 0) return;

  Workspace& workspace = context.workspace();
  const Workspace::Scope scope(workspace);
  const TensorView queries = take(workspace, p.batch, p.query_len, p.num_heads * p.head_dim);
  const TensorView keys = take(workspace, p.batch, p.key_len, p.num_kv_heads * p.head_dim);
  const TensorView values = take(workspace, p.batch, p.key_len, p.num_kv_heads * p.value_dim);
  const TensorView heads = take(workspace, p.batch, p.query_len, p.num_heads * p.value_dim);
  project(inputs.embeddings, weights_.query, queries, context);
  project(inputs.context, weights_.key, keys, context);
  project(inputs.context, weights_.value_down, values, context);
  attention_.forward(
      {split_heads(queries, p.num_heads, p.head_dim), split_heads(keys, p.num_kv_heads, p.head_dim),
       split_heads(values, p.num_kv_heads, p.value_dim)},
      {split_heads(heads, p.num_heads, p.value_dim), {}}, context);
  project(heads, weights_.value_up, outputs.update, context);
  if (!outputs.residual.empty()) {
    add(inputs.embeddings, outputs.update, outputs.residual, context.arena());
  }
}

Cost MultiHead::cost(int threads) const {
  const Problem& p = attention_.problem();
  const Index queries = p.batch * p.query_len, keys = p.batch * p.key_len;
  const Index query_width = p.num_heads * p.head_dim, key_width = p.num_kv_heads * p.head_dim;
  const Index value_width = p.num_kv_heads * p.value_dim, head_width = p.num_heads * p.value_dim;
  const auto model = static_cast<double>(model_dim_);
  const auto projected = static_cast<double>(queries * query_width + keys * key_width +
                                             keys * value_width + queries * head_width);
  const auto weights =
      model * static_cast<double>(query_width + key_width + value_width + head_width);

  Cost cost = attention_.cost(threads);
  cost.flops += 2 * model * projected;
  cost.bytes_moved +=  // embeddings, context and weights in, the update out, the buffers once more
      4 * (model * static_cast<double>(2 * queries + keys) + weights + projected);
  const Index product = std::max({matmul_workspace_bytes(model_dim_, query_width, threads),
                                  matmul_workspace_bytes(model_dim_, key_width, threads),
                                  matmul_workspace_bytes(model_dim_, value_width, threads),
                                  matmul_workspace_bytes(head_width, model_dim_, threads)});
  const Index buffers = Workspace::bytes_for<float>(queries * query_width) +
                        Workspace::bytes_for<float>(keys * key_width) +
                        Workspace::bytes_for<float>(keys * value_width) +
                        Workspace::bytes_for<float>(queries * head_width);
  cost.workspace_bytes =
      static_cast<double>(buffers) + std::max(cost.workspace_bytes, static_cast<double>(product));
  return cost;
}

}  // namespace longattn
