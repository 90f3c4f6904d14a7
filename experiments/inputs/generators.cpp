#include "experiments/inputs/generators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"

namespace longattn {
namespace {

enum class Which : std::uint64_t { queries = 1, keys = 2, values = 3 };

constexpr Index kTokensPerTask = 1024;

// Independent normal numbers; cut into tasks by head and token, in any order on any thread.
void fill_gaussian(Tensor& tensor, std::uint64_t seed, Which which, double deviation,
                   ThreadArena& arena) {
  const auto [batch, heads, len, dim] = tensor.shape();
  const Index pieces = (len + kTokensPerTask - 1) / kTokensPerTask;
  const DType dtype = tensor.dtype();
  arena.for_each(batch * heads * pieces, [&](Index task, int) {
    const Index head = task / pieces, first = task % pieces * kTokensPerTask;
    const CounterRandom random(seed, make_stream(static_cast<std::uint64_t>(which),
                                                 static_cast<std::uint64_t>(head / heads),
                                                 static_cast<std::uint64_t>(head % heads)));
    std::vector<float> row(static_cast<size_t>(dim + 1));
    std::byte* out = tensor.bytes_begin() + (head * len + first) * dim * byte_size(dtype);
    for (Index i = first; i < std::min(first + kTokensPerTask, len); ++i) {
      for (Index c = 0; c < dim; c += 2) {
        // Token in the high half, so that the counter of an element never depends on dim or len.
        const auto counter = static_cast<std::uint64_t>(i) << 24 | static_cast<std::uint64_t>(c);
        const auto two = random.normal_pair(counter / 2);
        row[static_cast<size_t>(c)] = static_cast<float>(deviation * two[0]);
        row[static_cast<size_t>(c + 1)] = static_cast<float>(deviation * two[1]);
      }
      store_floats(dtype, row.data(), dim, out);
      out += dim * byte_size(dtype);
    }
  });
}

InputTensors make_gaussian(const InputSpec& spec, const Problem& p, ThreadArena& arena) {
  InputTensors inputs;
  inputs.queries = Tensor({p.batch, p.num_heads, p.query_len, p.head_dim}, p.dtype);
  inputs.keys = Tensor({p.batch, p.num_kv_heads, p.key_len, p.head_dim}, p.dtype);
  inputs.values = Tensor({p.batch, p.num_kv_heads, p.key_len, p.value_dim}, p.dtype);
  // q.k of unit entries has deviation sqrt(head_dim); a scale of zero leaves nothing to set.
  const double unit = std::abs(p.effective_scale()) * std::sqrt(static_cast<double>(p.head_dim));
  const double deviation = unit > 0 ? spec.temperature / unit : spec.temperature;
  fill_gaussian(inputs.queries, spec.seed, Which::queries, deviation, arena);
  fill_gaussian(inputs.keys, spec.seed, Which::keys, 1, arena);
  fill_gaussian(inputs.values, spec.seed, Which::values, 1, arena);
  return inputs;
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

InputTensors make_inputs(const InputSpec& spec, const Problem& p, int threads) {
  if (spec.kind == InputSpec::Kind::gaussian) {
    ThreadArena arena(threads);
    return make_gaussian(spec, p, arena);
  }
  Trace trace = read_trace(spec.path, spec.layer);
  cut(trace.queries, p.query_len, "queries");
  cut(trace.keys, p.key_len, "keys");
  cut(trace.values, p.key_len, "values");
  for (OwnedTensor& extra : trace.extra) {
    if (extra.tensor.shape()[2] > p.key_len) cut(extra.tensor, p.key_len, extra.name);
  }
  return {std::move(trace.queries), std::move(trace.keys), std::move(trace.values),
          std::move(trace.extra)};
}

}  // namespace longattn
