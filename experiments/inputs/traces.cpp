#include "experiments/inputs/traces.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/io/safetensors.h"
#include "core/io/text.h"

namespace longattn {
namespace {

std::string layer_prefix(Index layer) { return fmt::format("layers.{}.", layer); }

std::optional<double> read_scale(const SafetensorsFile& file) {
  const auto found = file.metadata().find("scale");
  if (found == file.metadata().end()) return std::nullopt;
  const std::string& text = found->second;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    throw DataError(fmt::format("{}: metadata 'scale', expected a number, found '{}'",
                                printable(file.path()), printable(text.substr(0, 80))));
  }
  return value;
}

std::optional<bool> read_causal(const SafetensorsFile& file) {
  const auto found = file.metadata().find("causal");
  if (found == file.metadata().end()) return std::nullopt;
  const std::string& text = found->second;
  if (text == "true" || text == "True") return true;  // Python's str(True) is in many files
  if (text == "false" || text == "False") return false;
  throw DataError(fmt::format("{}: metadata 'causal', expected true or false, found '{}'",
                              printable(file.path()), printable(text.substr(0, 80))));
}

void require_layer(const SafetensorsFile& file, Index layer) {
  if (file.contains(layer_prefix(layer) + "queries")) return;
  const std::vector<Index> layers = trace_layers(file);
  if (layers.empty()) {
    throw DataError(
        fmt::format("{}: trace, expected tensors layers.{}.queries, .keys and .values, "
                    "found no layers.*.queries",
                    printable(file.path()), layer));
  }
  throw DataError(fmt::format("{}: layer, expected one of {}, found {}", printable(file.path()),
                              fmt::join(layers, ", "), layer));
}

bool is_extra(const std::string& name, const SafetensorsEntry& entry, const std::string& prefix) {
  if (!name.starts_with(prefix) || !entry.type || !is_floating(*entry.type)) return false;
  if (entry.shape.size() < 3 || entry.shape.size() > 4) return false;
  const std::string_view rest = std::string_view(name).substr(prefix.size());
  return rest != "queries" && rest != "keys" && rest != "values";
}

}  // namespace

Trace read_trace(const std::string& path, Index layer) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  require_layer(file, layer);
  const std::string prefix = layer_prefix(layer);
  Trace trace;
  trace.scale = read_scale(file);
  trace.causal = read_causal(file);
  trace.queries = file.load(prefix + "queries", &trace.rounded);
  trace.keys = file.load(prefix + "keys", &trace.rounded);
  trace.values = file.load(prefix + "values", &trace.rounded);
  trace.axes = static_cast<int>(file.entries().at(prefix + "queries").shape.size());
  try {
    problem_of(trace.queries, trace.keys, trace.values);
  } catch (const Error& error) {
    throw DataError(fmt::format("{}: layer {}: {}", printable(path), layer, error.what()));
  }
  for (const auto& [name, entry] : file.entries()) {
    if (!is_extra(name, entry, prefix)) continue;
    trace.extra.push_back({name.substr(prefix.size()), file.load(name, &trace.rounded)});
  }
  std::vector<Tensor*> all = {&trace.queries, &trace.keys, &trace.values};
  for (OwnedTensor& extra : trace.extra) all.push_back(&extra.tensor);
  store_alike(all);
  return trace;
}

Index count_of(const Tokens& tokens) {
  Index count = 0;
  for (const TokenSet& part : tokens) count += part.count;
  return count;
}

Index token_at(const Tokens& tokens, Index n) {
  auto part = tokens.begin();
  for (; n >= part->count; ++part) n -= part->count;
  return (*part)[n];
}

Tensor read_trace_tokens(const std::string& path, Index layer, const std::string& name,
                         const std::array<Index, 4>& expected, const Tokens& tokens, DType dtype) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  require_layer(file, layer);
  const std::string what = fmt::format("{}: {}{}", printable(path), layer_prefix(layer), name);
  const auto found = file.entries().find(layer_prefix(layer) + name);
  if (found == file.entries().end()) throw DataError(what + ": not in the file");
  const SafetensorsEntry& entry = found->second;
  if (!entry.type || !is_floating(*entry.type)) {
    throw DataError(fmt::format("{}: dtype {}, expected F64, F32, F16 or BF16", what, entry.dtype));
  }
  const std::array<Index, 4> shape = tensor_shape(entry.shape, what);
  const auto [batch, heads, len, dim] = expected;
  if (shape[0] != batch || shape[1] != heads || shape[2] < len || shape[3] != dim) {
    throw ShapeError(fmt::format("{}: [{}], the problem says [{}]", what, fmt::join(shape, ", "),
                                 fmt::join(expected, ", ")));
  }
  if (dtype != DType::float32 && dtype != storage_for(*entry.type)) {
    throw ShapeError(
        fmt::format("{}: dtype {}, the problem says {}", what, entry.dtype, to_string(dtype)));
  }
  Tensor rows({batch, heads, count_of(tokens), dim}, dtype);
  std::byte* to = rows.bytes_begin();
  const Index row_bytes = dim * byte_size(*entry.type);
  std::vector<std::byte> piece;
  std::vector<float> wide;
  for (Index head = 0; head < batch * heads; ++head) {
    for (const TokenSet& part : tokens) {
      // Neighbours are read at once.
      const Index at_once = part.stride == 1 ? part.count : 1;
      for (Index n = 0; n < part.count; n += at_once) {
        piece.resize(static_cast<size_t>(at_once * row_bytes));
        file.read(entry, (head * shape[2] + part[n]) * row_bytes, piece);
        const Tensor stored =
            make_tensor(*entry.type, piece.data(), {1, 1, at_once, dim}, what, nullptr);
        wide.resize(static_cast<size_t>(stored.size()));
        load_floats(stored.dtype(), stored.bytes_begin(), stored.size(), wide.data());
        store_floats(dtype, wide.data(), stored.size(), to);
        to += stored.size() * byte_size(dtype);
      }
    }
  }
  return rows;
}

std::vector<Index> trace_layers(const SafetensorsFile& file) {
  std::vector<Index> layers;
  for (const auto& [name, entry] : file.entries()) {
    if (!name.starts_with("layers.") || !name.ends_with(".queries")) continue;
    const std::string_view digits(name.data() + 7, name.size() - 7 - 8);
    Index layer = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
    // The name must be the one that read_trace would ask for: not layers.01.queries.
    if (error == std::errc() && name == layer_prefix(layer) + "queries") layers.push_back(layer);
  }
  std::ranges::sort(layers);
  return layers;
}

Problem problem_of(const Tensor& queries, const Tensor& keys, const Tensor& values) {
  const auto check = [](const char* name, const char* axis, Index found, const char* other,
                        Index expected) {
    if (found == expected) return;
    throw ShapeError(fmt::format("{}: {} {}, {} say {}", name, axis, found, other, expected));
  };
  check("keys", "batch", keys.shape()[0], "queries", queries.shape()[0]);
  check("keys", "dim", keys.shape()[3], "queries", queries.shape()[3]);
  check("values", "batch", values.shape()[0], "keys", keys.shape()[0]);
  check("values", "heads", values.shape()[1], "keys", keys.shape()[1]);
  check("values", "len", values.shape()[2], "keys", keys.shape()[2]);
  Problem problem;
  problem.batch = queries.shape()[0];
  problem.num_heads = queries.shape()[1];
  problem.num_kv_heads = keys.shape()[1];
  problem.query_len = queries.shape()[2];
  problem.key_len = keys.shape()[2];
  problem.head_dim = queries.shape()[3];
  problem.value_dim = values.shape()[3];
  problem.dtype = queries.dtype();
  validate(problem);
  return problem;
}

void store_alike(const std::vector<Tensor*>& tensors) {
  const bool alike = std::ranges::all_of(
      tensors, [&](const Tensor* tensor) { return tensor->dtype() == tensors[0]->dtype(); });
  if (alike) return;
  for (Tensor* tensor : tensors) {
    if (tensor->dtype() == DType::float32) continue;
    Tensor wide(tensor->shape());
    load_floats(tensor->dtype(), tensor->bytes_begin(), tensor->size(), wide.floats());
    *tensor = std::move(wide);
  }
}

}  // namespace longattn
