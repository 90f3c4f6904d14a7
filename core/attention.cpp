#include "core/attention.h"

#include <fmt/format.h>

#include "core/error.h"

namespace longattn {

int Inputs::find_extra(std::string_view name) const {
  for (size_t n = 0; n < extra.size(); ++n) {
    if (extra[n].name == name) return static_cast<int>(n);
  }
  return -1;
}

namespace {

void check_shape(std::string_view name, const std::array<Index, 4>& shape,
                 const std::array<Index, 4>& expected) {
  static constexpr std::array<const char*, 4> kAxis = {"batch", "heads", "len", "dim"};
  for (size_t axis = 0; axis < 4; ++axis) {
    if (shape[axis] != expected[axis]) {
      throw ShapeError(fmt::format("{}: {} {}, problem says {}", name, kAxis[axis], shape[axis],
                                   expected[axis]));
    }
  }
}

void check_view(std::string_view name, const ConstTensorView& view,
                const std::array<Index, 4>& expected, DType dtype) {
  check_shape(name, view.shape, expected);
  if (view.dtype != dtype) {
    throw ShapeError(fmt::format("{}: {} elements, problem says {}", name, to_string(view.dtype),
                                 to_string(dtype)));
  }
  const bool has_elements = expected[0] * expected[1] * expected[2] * expected[3] > 0;
  if (has_elements && view.data == nullptr) throw ShapeError(fmt::format("{}: no data", name));
}

}  // namespace

void check_inputs(const Problem& p, const Inputs& inputs) {
  check_view("queries", inputs.queries, {p.batch, p.num_heads, p.query_len, p.head_dim}, p.dtype);
  check_view("keys", inputs.keys, {p.batch, p.num_kv_heads, p.key_len, p.head_dim}, p.dtype);
  check_view("values", inputs.values, {p.batch, p.num_kv_heads, p.key_len, p.value_dim}, p.dtype);
}

double least_traffic(const Problem& p) {
  const auto element = static_cast<double>(byte_size(p.dtype));
  const auto queries = static_cast<double>(p.batch * p.num_heads * p.query_len);
  const auto keys = static_cast<double>(p.batch * p.num_kv_heads * p.key_len);
  return element * (queries * static_cast<double>(p.head_dim) +
                    keys * static_cast<double>(p.head_dim + p.value_dim)) +
         4 * queries * static_cast<double>(p.value_dim);
}

Attention::Attention(Problem problem) : problem_(std::move(problem)) { validate(problem_); }

void Attention::forward(const Inputs& inputs, const Outputs& outputs, Context& context) const {
  const Problem& p = problem_;
  check_inputs(p, inputs);
  check_view("output", outputs.output, {p.batch, p.num_heads, p.query_len, p.value_dim},
             DType::float32);
  if (!outputs.logsumexp.empty()) {
    check_shape("logsumexp", outputs.logsumexp.shape, {p.batch, p.num_heads, p.query_len, 1});
    if (!has_logsumexp()) {
      throw UnsupportedError(
          "logsumexp is not defined for this variant: its weights are not a "
          "softmax over keys");
    }
  }
  if (p.query_len == 0) return;
  forward_impl(inputs, outputs, context);
}

}  // namespace longattn
