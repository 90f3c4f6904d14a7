#include "experiments/inputs/generators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "core/error.h"
#include "core/parallel.h"

namespace longattn {
namespace {

constexpr Index kTokensPerTask = 1024;

using RowMaker = std::function<void(Index b, Index head, Index token, std::span<double> row)>;

// Rows of these tokens. Cut into tasks by head and token, in any order on any thread.
Tensor draw(Index batch, Index heads, const Tokens& tokens, Index dim, DType dtype,
            ThreadArena& arena, const RowMaker& make_row) {
  const Index len = count_of(tokens);
  Tensor tensor({batch, heads, len, dim}, dtype);
  const Index pieces = (len + kTokensPerTask - 1) / kTokensPerTask;
  arena.for_each(batch * heads * pieces, [&](Index task, int) {
    const Index head = task / pieces, first = task % pieces * kTokensPerTask;
    std::vector<double> row(static_cast<size_t>(dim));
    std::vector<float> rounded(static_cast<size_t>(dim));
    std::byte* out = tensor.bytes_begin() + (head * len + first) * dim * byte_size(dtype);
    for (Index i = first; i < std::min(first + kTokensPerTask, len); ++i) {
      make_row(head / heads, head % heads, token_at(tokens, i), row);
      std::ranges::transform(row, rounded.begin(), [](double x) { return static_cast<float>(x); });
      store_floats(dtype, rounded.data(), dim, out);
      out += dim * byte_size(dtype);
    }
  });
  return tensor;
}

InputTensors draw_all(const InputSource& source, const Problem& p, const Tokens& queries,
                      const Tokens& keys, ThreadArena& arena,
                      const std::atomic<int>* stop = nullptr) {
  const auto rows_of = [&](auto row_of) -> RowMaker {
    return [&source, stop, row_of](Index b, Index head, Index token, std::span<double> row) {
      if (stop != nullptr && stop->load(std::memory_order_relaxed) != 0) {
        throw StoppedError("stopped while inputs were being made");
      }
      (source.*row_of)(b, head, token, row);
    };
  };
  InputTensors inputs;
  inputs.queries =
      draw(p.batch, p.num_heads, queries, p.head_dim, p.dtype, arena, rows_of(&InputSource::query));
  inputs.keys =
      draw(p.batch, p.num_kv_heads, keys, p.head_dim, p.dtype, arena, rows_of(&InputSource::key));
  inputs.values = draw(p.batch, p.num_kv_heads, keys, p.value_dim, p.dtype, arena,
                       rows_of(&InputSource::value));
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

InputSpec generated_input(std::string_view name,
                          const std::vector<std::pair<std::string, std::string>>& given) {
  const Generator& generator = require_generator(name);
  const Options options(generator.options, given);
  InputSpec spec;
  spec.generator = spec.label = name;
  for (const Option& option : generator.options) {
    const std::string text = to_text(options.value(option.name));
    spec.options.emplace_back(option.name, text);
    const bool told =
        std::ranges::any_of(given, [&](const auto& one) { return one.first == option.name; });
    if (!told || (option.name == "seed" && text == to_text(option.default_value))) continue;
    spec.label += fmt::format(" {} {}", option.name, text);
  }
  return spec;
}

InputTensors make_inputs_of(const InputSpec& spec, const Problem& p, const Tokens& queries,
                            const Tokens& keys, int threads) {
  if (const auto source = source_of(spec, p)) {
    ThreadArena arena(threads);
    return draw_all(*source, p, queries, keys, arena);
  }
  return {read_trace_tokens(spec.path, spec.layer, "queries",
                            {p.batch, p.num_heads, p.query_len, p.head_dim}, queries, p.dtype),
          read_trace_tokens(spec.path, spec.layer, "keys",
                            {p.batch, p.num_kv_heads, p.key_len, p.head_dim}, keys, p.dtype),
          read_trace_tokens(spec.path, spec.layer, "values",
                            {p.batch, p.num_kv_heads, p.key_len, p.value_dim}, keys, p.dtype),
          {}};
}

std::unique_ptr<const InputSource> source_of(const InputSpec& spec, const Problem& p) {
  if (spec.is_trace()) return nullptr;
  const Generator& generator = require_generator(spec.generator);
  return make_source(generator, p, Options(generator.options, spec.options));
}

std::optional<InputTarget> target_of(const InputSpec& spec, const Problem& p) {
  if (spec.is_trace()) return std::nullopt;
  const Generator& generator = require_generator(spec.generator);
  return generator.target(Options(generator.options, spec.options), p);
}

InputTensors make_inputs(const InputSpec& spec, const Problem& p, int threads,
                         const std::atomic<int>* stop) {
  if (const auto source = source_of(spec, p)) {
    ThreadArena arena(threads);
    return draw_all(*source, p, {{0, p.query_len}}, {{0, p.key_len}}, arena, stop);
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
