#include "core/variant.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/io/text.h"

namespace longattn {

std::string remark_of(const Variant& variant, const Options& options) {
  return variant.remark == nullptr ? "" : variant.remark(options);
}

std::unique_ptr<const Attention> make_attention(const Variant& variant, const Problem& problem,
                                                const Options& options) {
  validate(problem);
  const std::string reason = variant.unsupported(problem, options);
  if (!reason.empty()) throw UnsupportedError(fmt::format("{}: {}", variant.name, reason));
  return variant.make(problem, options);
}

void check_extra(const Variant& variant, const Problem& p, const Inputs& inputs) {
  for (const NamedTensor& tensor : inputs.extra) {
    bool declared = false;
    for (const ExtraTensor& extra : variant.extra) {
      if (extra.name != tensor.name) continue;
      declared = true;
      const bool query_like = extra.like == ExtraTensor::Like::queries;
      const std::array<Index, 4> expected = {
          p.batch, query_like ? p.num_heads : p.num_kv_heads, query_like ? p.query_len : p.key_len,
          extra.like == ExtraTensor::Like::values ? p.value_dim : p.head_dim};
      if (tensor.view.shape != expected) {
        const auto& s = tensor.view.shape;
        throw ShapeError(fmt::format("{}: shape [{}, {}, {}, {}], expected [{}, {}, {}, {}]",
                                     tensor.name, s[0], s[1], s[2], s[3], expected[0], expected[1],
                                     expected[2], expected[3]));
      }
      if (tensor.view.dtype != p.dtype) {
        throw ShapeError(fmt::format("{}: {} elements, problem says {}", tensor.name,
                                     to_string(tensor.view.dtype), to_string(p.dtype)));
      }
    }
    if (!declared) {
      throw ShapeError(fmt::format("{} takes no extra tensor '{}'", variant.name, tensor.name));
    }
  }
  if (!inputs.extra.empty()) {
    for (const ExtraTensor& extra : variant.extra) {
      if (inputs.find_extra(extra.name) < 0) {
        throw ShapeError(
            fmt::format("{}: extra tensor '{}' is missing; all of its extra tensors "
                        "are given, or none",
                        variant.name, extra.name));
      }
    }
  }
}

const Variant* find_variant(std::span<const Variant* const> table, std::string_view name) {
  for (const Variant* variant : table) {
    if (variant->name == name) return variant;
  }
  return nullptr;
}

const Variant& require_variant(std::span<const Variant* const> table, std::string_view name) {
  if (const Variant* variant = find_variant(table, name)) return *variant;
  std::vector<std::string> names;
  for (const Variant* variant : table) names.emplace_back(variant->name);
  const std::string close = closest_name(name, names);
  throw OptionError(fmt::format("unknown variant '{}'{} (known: {})", printable(name),
                                close.empty() ? "" : fmt::format("; did you mean '{}'?", close),
                                fmt::join(names, ", ")));
}

}  // namespace longattn
