#include "experiments/inputs/generators.h"

#include <fmt/format.h>

#include <cstring>

#include "core/error.h"
#include "core/random.h"

namespace longattn {
namespace {

enum class Which : std::uint64_t { queries = 1, keys = 2, values = 3 };

Tensor gaussian(const InputSpec& spec, Which which, const std::array<Index, 4>& shape, DType dtype,
                double deviation) {
  Tensor tensor(shape, dtype);
  const auto [batch, heads, len, dim] = shape;
  std::vector<float> row(static_cast<size_t>(dim));
  std::byte* out = tensor.bytes_begin();
  for (Index b = 0; b < batch; ++b) {
    for (Index h = 0; h < heads; ++h) {
      const CounterRandom random(
          spec.seed, make_stream(static_cast<std::uint64_t>(which), static_cast<std::uint64_t>(b),
                                 static_cast<std::uint64_t>(h)));
      for (Index i = 0; i < len; ++i) {
        for (Index c = 0; c < dim; ++c) {
          // Token in the high half, so that the counter of an element never depends on dim or len.
          const auto counter = static_cast<std::uint64_t>(i) << 24 | static_cast<std::uint64_t>(c);
          row[static_cast<size_t>(c)] = static_cast<float>(deviation * random.normal(counter));
        }
        store_floats(dtype, row.data(), dim, out);
        out += dim * byte_size(dtype);
      }
    }
  }
  return tensor;
}

// The first `len` tokens of every head.
Tensor prefix(const Tensor& whole, Index len, std::string_view name) {
  const auto shape = whole.shape();
  if (len > shape[2]) {
    throw ShapeError(
        fmt::format("{}: the trace has {} tokens, the problem asks for {}", name, shape[2], len));
  }
  if (len == shape[2]) return {};
  Tensor part({shape[0], shape[1], len, shape[3]}, whole.dtype());
  const ConstTensorView from = whole.view(), to = part.view();
  for (Index b = 0; b < shape[0]; ++b) {
    for (Index h = 0; h < shape[1]; ++h) {
      const Index bytes = len * shape[3] * byte_size(whole.dtype());
      if (bytes > 0) {
        std::memcpy(const_cast<void*>(to.row(b, h, 0)), from.row(b, h, 0),
                    static_cast<size_t>(bytes));
      }
    }
  }
  return part;
}

void cut(Tensor& tensor, Index len, std::string_view name) {
  Tensor part = prefix(tensor, len, name);
  if (!part.empty()) tensor = std::move(part);
}

}  // namespace

InputTensors make_inputs(const InputSpec& spec, const Problem& p) {
  InputTensors inputs;
  if (spec.kind == InputSpec::Kind::gaussian) {
    inputs.queries = gaussian(spec, Which::queries, {p.batch, p.num_heads, p.query_len, p.head_dim},
                              p.dtype, spec.temperature);
    inputs.keys =
        gaussian(spec, Which::keys, {p.batch, p.num_kv_heads, p.key_len, p.head_dim}, p.dtype, 1);
    inputs.values = gaussian(spec, Which::values, {p.batch, p.num_kv_heads, p.key_len, p.value_dim},
                             p.dtype, 1);
    return inputs;
  }
  Trace trace = read_trace(spec.path, spec.layer);
  cut(trace.queries, p.query_len, "queries");
  cut(trace.keys, p.key_len, "keys");
  cut(trace.values, p.key_len, "values");
  for (OwnedTensor& extra : trace.extra) {
    if (extra.tensor.shape()[2] > p.key_len) cut(extra.tensor, p.key_len, extra.name);
  }
  inputs = {std::move(trace.queries), std::move(trace.keys), std::move(trace.values),
            std::move(trace.extra)};
  return inputs;
}

}  // namespace longattn
