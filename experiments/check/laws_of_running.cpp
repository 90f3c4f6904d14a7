// Laws about how a forward pass behaves.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "experiments/check/laws.h"
#include "experiments/measure/heap_counter.h"

namespace longattn {

Violation threads_do_not_matter(const Case& c) {
  for (int threads : {2, 3}) {
    if (Violation v = difference(run_forward(*c.attention, c.inputs(), threads), c.result())) {
      return fmt::format("with {} threads instead of one, {}", threads, *v);
    }
  }
  return std::nullopt;
}

Violation second_call_is_alike(const Case& c) {
  Context context(2);
  const Result first = run_forward(*c.attention, c.inputs(), context);
  if (Violation v = difference(run_forward(*c.attention, c.inputs(), context), first)) {
    return "in the second call on one Context, " + *v;
  }
  return std::nullopt;
}

namespace {

// A copy of a tensor laid out [batch, len, heads, dim], each row followed by a gap, the first
// element off alignment. Gaps hold NaN in inputs and a canary in outputs.
class Strided {
 public:
  Strided(const ConstTensorView& source, float gap) : dtype_(source.dtype), shape_(source.shape) {
    const Index row = shape_[3] + kGap, heads = shape_[1], len = shape_[2];
    strides_ = {len * heads * row, row, heads * row};
    elements_ = kGap + shape_[0] * strides_[0];
    buffer_ = Tensor({1, 1, 1, elements_}, dtype_);
    for (Index n = 0; n < elements_; ++n) {
      store_floats(dtype_, &gap, 1, buffer_.bytes_begin() + n * byte_size(dtype_));
    }
    if (source.data == nullptr) return;
    for (Index b = 0; b < shape_[0]; ++b) {
      for (Index h = 0; h < heads; ++h) {
        for (Index i = 0; i < len; ++i) {
          std::memcpy(buffer_.bytes_begin() + offset(b, h, i) * byte_size(dtype_),
                      source.row(b, h, i), static_cast<size_t>(shape_[3] * byte_size(dtype_)));
        }
      }
    }
  }
  // Room for an output of this shape, full of `canary`.
  Strided(const std::array<Index, 4>& shape, float canary)
      : Strided(ConstTensorView{nullptr, DType::float32, shape, {}}, canary) {}

  ConstTensorView view() const {
    return {buffer_.bytes_begin() + kGap * byte_size(dtype_), dtype_, shape_, strides_};
  }
  TensorView mutable_view() { return {buffer_.floats() + kGap, shape_, strides_}; }

  Tensor dense() const {
    Tensor result(shape_);
    for (Index b = 0; b < shape_[0]; ++b) {
      for (Index h = 0; h < shape_[1]; ++h) {
        for (Index i = 0; i < shape_[2]; ++i) {
          std::copy_n(view().float_row(b, h, i), shape_[3], result.mutable_view().row(b, h, i));
        }
      }
    }
    return result;
  }

  // Offset of the first element beside the rows that is no longer `canary`; -1: all are.
  Index damaged(float canary) const {
    std::vector<bool> inside(static_cast<size_t>(elements_));
    for (Index b = 0; b < shape_[0]; ++b) {
      for (Index h = 0; h < shape_[1]; ++h) {
        for (Index i = 0; i < shape_[2]; ++i) {
          for (Index col = 0; col < shape_[3]; ++col) {
            inside[static_cast<size_t>(offset(b, h, i) + col)] = true;
          }
        }
      }
    }
    for (Index n = 0; n < elements_; ++n) {
      if (inside[static_cast<size_t>(n)]) continue;
      const float found = buffer_.floats()[n];
      if (std::bit_cast<std::uint32_t>(found) != std::bit_cast<std::uint32_t>(canary)) return n;
    }
    return -1;
  }

 private:
  static constexpr Index kGap = 5;
  Index offset(Index b, Index h, Index i) const {
    return kGap + b * strides_[0] + h * strides_[1] + i * strides_[2];
  }

  DType dtype_;
  std::array<Index, 4> shape_;
  std::array<Index, 3> strides_{};
  Index elements_ = 0;
  Tensor buffer_;
};

// All inputs of a case, strided.
struct StridedInputs {
  explicit StridedInputs(const Inputs& inputs)
      : queries(inputs.queries, kGapValue),
        keys(inputs.keys, kGapValue),
        values(inputs.values, kGapValue) {
    for (const NamedTensor& tensor : inputs.extra) {
      extra.emplace_back(tensor.view, kGapValue);
      named.push_back({tensor.name, extra.back().view()});
    }
  }
  Inputs inputs() const { return {queries.view(), keys.view(), values.view(), named}; }

  static constexpr float kGapValue = std::numeric_limits<float>::quiet_NaN();
  Strided queries, keys, values;
  std::vector<Strided> extra;
  std::vector<NamedTensor> named;
};

std::array<Index, 4> output_shape(const Problem& p) {
  return {p.batch, p.num_heads, p.query_len, p.value_dim};
}
std::array<Index, 4> logsumexp_shape(const Problem& p) {
  return {p.batch, p.num_heads, p.query_len, 1};
}

}  // namespace

Violation strides_do_not_matter(const Case& c) {
  const StridedInputs strided(c.inputs());
  constexpr float kUnwritten = std::numeric_limits<float>::quiet_NaN();
  Strided output(output_shape(c.problem), kUnwritten);
  Strided logsumexp(logsumexp_shape(c.problem), kUnwritten);
  Outputs outputs{output.mutable_view(), {}};
  if (c.attention->has_logsumexp()) outputs.logsumexp = logsumexp.mutable_view();
  Context context;
  c.attention->forward(strided.inputs(), outputs, context);
  Result result;
  result.output = output.dense();
  if (c.attention->has_logsumexp()) result.logsumexp = logsumexp.dense();
  if (Violation v = difference(result, c.result())) return "on strided views, " + *v;
  return std::nullopt;
}

Violation inputs_stay(const Case& c) {
  const CaseTensors used = c.tensors.copy();
  run_forward(*c.attention, used.inputs(), 2);
  const auto changed = [](const Tensor& found, const Tensor& expected) {
    return found.bytes() > 0 && std::memcmp(found.bytes_begin(), expected.bytes_begin(),
                                            static_cast<size_t>(found.bytes())) != 0;
  };
  if (changed(used.queries, c.tensors.queries)) return "forward changed the queries";
  if (changed(used.keys, c.tensors.keys)) return "forward changed the keys";
  if (changed(used.values, c.tensors.values)) return "forward changed the values";
  for (size_t n = 0; n < used.extra().size(); ++n) {
    if (!changed(used.extra()[n], c.tensors.extra()[n])) continue;
    return fmt::format("forward changed {}", c.variant.extra[n].name);
  }
  return std::nullopt;
}

Violation writes_stay_inside(const Case& c) {
  constexpr float kCanary = -12345.678f;
  Strided output(output_shape(c.problem), kCanary);
  Strided logsumexp(logsumexp_shape(c.problem), kCanary);
  Outputs outputs{output.mutable_view(), {}};
  if (c.attention->has_logsumexp()) outputs.logsumexp = logsumexp.mutable_view();
  Context context(2);
  c.attention->forward(c.inputs(), outputs, context);
  if (const Index n = output.damaged(kCanary); n >= 0) {
    return fmt::format("element {} of the output's buffer, beside its rows, was written", n);
  }
  if (const Index n = logsumexp.damaged(kCanary); n >= 0) {
    return fmt::format("element {} of logsumexp's buffer, beside its rows, was written", n);
  }
  return std::nullopt;
}

Violation workspace_is_declared(const Case& c) {
  for (int threads : {1, 2, 3}) {
    Context context(threads);
    run_forward(*c.attention, c.inputs(), context);
    const double declared = c.attention->cost(threads).workspace_bytes;
    const auto peak = static_cast<double>(context.workspace().peak_bytes());
    if (peak > declared) {
      return fmt::format("with {} threads the workspace reached {} bytes, declared are {}", threads,
                         peak, declared);
    }
    if (context.workspace().bytes() != 0) {
      return fmt::format("{} bytes of workspace were not given back", context.workspace().bytes());
    }
  }
  return std::nullopt;
}

Violation heap_is_left_alone(const Case& c) {
  // A parallel loop hands on a closure, which may be too large for std::function to hold in place.
  constexpr Index kBookkeeping = 1024;
  Tensor output(output_shape(c.problem));
  Context context;
  const Outputs outputs{output.mutable_view(), {}};
  const Inputs inputs = c.inputs();
  c.attention->forward(inputs, outputs, context);
  start_heap_counting();
  c.attention->forward(inputs, outputs, context);
  const Index peak = stop_heap_counting();
  if (peak <= kBookkeeping) return std::nullopt;
  return fmt::format("a second call took {} bytes of heap memory, {} are allowed", peak,
                     kBookkeeping);
}

Violation cost_is_declared(const Case& c) {
  for (int threads : {1, 2}) {
    const Cost cost = c.attention->cost(threads);
    for (double figure :
         {cost.flops, cost.scored_pairs, cost.bytes_moved, cost.workspace_bytes, cost.held_bytes}) {
      if (std::isfinite(figure) && figure >= 0) continue;
      return fmt::format("with {} threads, cost() says {}", threads, figure);
    }
  }
  // Only a softmax has a score behind every weight.
  if (!c.is(Traits::Rows::restricted)) return std::nullopt;
  double weighed = 0;
  for (Index b = 0; b < c.problem.batch; ++b) {
    for (Index h = 0; h < c.problem.num_heads; ++h) {
      weighed += static_cast<double>((c.expected(b, h).rows.weights.array() != 0).count());
    }
  }
  const double declared = c.attention->cost(1).scored_pairs;
  if (weighed <= declared) return std::nullopt;
  return fmt::format("{} pairs are weighed, cost() declares {} scored pairs", weighed, declared);
}

namespace {

// Whether forward refuses these views with a ShapeError that has both numbers in it.
Violation accepts(const Case& c, const Inputs& inputs, const Outputs& outputs, const char* what,
                  std::pair<std::string, std::string> numbers) {
  Context context;
  try {
    c.attention->forward(inputs, outputs, context);
  } catch (const ShapeError& error) {
    const std::string_view message = error.what();
    if (message.find(numbers.first) != message.npos &&
        message.find(numbers.second) != message.npos) {
      return std::nullopt;
    }
    return fmt::format("{}: the message lacks {} or {}: {}", what, numbers.first, numbers.second,
                       message);
  }
  return fmt::format("{}: was accepted", what);
}

std::pair<std::string, std::string> numbers(Index wrong, Index right) {
  return {std::to_string(wrong), std::to_string(right)};
}

Violation plan_is_for(const Problem& found, const Problem& asked) {
  const bool same = found.batch == asked.batch && found.num_heads == asked.num_heads &&
                    found.num_kv_heads == asked.num_kv_heads &&
                    found.query_len == asked.query_len && found.key_len == asked.key_len &&
                    found.head_dim == asked.head_dim && found.value_dim == asked.value_dim &&
                    found.dtype == asked.dtype && found.scale == asked.scale &&
                    found.mask.causal == asked.mask.causal &&
                    found.mask.key_lengths == asked.mask.key_lengths &&
                    found.mask.document_ids == asked.mask.document_ids &&
                    found.mask.alibi_slopes == asked.mask.alibi_slopes;
  if (same) return std::nullopt;
  return fmt::format("the plan is for another problem: {}", describe(found));
}

}  // namespace

Violation shapes_are_checked(const Case& c) {
  const Problem& p = c.problem;
  if (Violation v = plan_is_for(c.attention->problem(), p)) return v;
  const Inputs good = c.inputs();
  Tensor output(output_shape(p));
  const Outputs outputs{output.mutable_view(), {}};

  Inputs wrong = good;
  wrong.keys.shape[2] = p.key_len + 7;
  if (auto v =
          accepts(c, wrong, outputs, "keys of another length", numbers(p.key_len + 7, p.key_len)))
    return v;
  wrong = good;
  wrong.values.shape[1] = p.num_kv_heads + 7;
  if (auto v = accepts(c, wrong, outputs, "values of other heads",
                       numbers(p.num_kv_heads + 7, p.num_kv_heads)))
    return v;
  wrong = good;
  wrong.queries.shape[3] = p.head_dim + 7;
  if (auto v = accepts(c, wrong, outputs, "queries of another width",
                       numbers(p.head_dim + 7, p.head_dim)))
    return v;
  wrong = good;
  wrong.keys.dtype = p.dtype == DType::float16 ? DType::bfloat16 : DType::float16;
  if (auto v = accepts(c, wrong, outputs, "keys of another type",
                       {std::string(to_string(wrong.keys.dtype)), std::string(to_string(p.dtype))}))
    return v;
  Outputs narrow = outputs;
  narrow.output.shape[3] = p.value_dim + 7;
  return accepts(c, good, narrow, "an output of another width",
                 numbers(p.value_dim + 7, p.value_dim));
}

}  // namespace longattn
