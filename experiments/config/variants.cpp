#include "experiments/config/variants.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/io/text.h"

namespace longattn {
namespace {

// One option with the values that it takes.
struct Axis {
  const Option* option;
  std::vector<std::string> values;
};

std::vector<std::string> option_names(const Variant& variant) {
  std::vector<std::string> names;
  for (const Option& option : variant.options) names.push_back(option.name);
  return names;
}

class VariantReader {
 public:
  VariantReader(std::span<const Variant* const> table, Index most, ConfigReader& reader)
      : table_(table), most_(static_cast<double>(most)), reader_(reader) {}

  void read(const YamlNode& node) {
    static const YamlNode kNoOptions;
    if (node.is_scalar()) return read_options(node, find(node, node.text), kNoOptions);
    if (!node.is_map() || node.entries.size() != 1) {
      reader_.error(node,
                    fmt::format("a variant is {}, expected a name, or one name with its "
                                "options",
                                describe(node)),
                    "", {"for example: - longformer: {window: 64}"});
      return;
    }
    const YamlEntry& entry = node.entries.front();
    YamlNode key;
    key.kind = YamlNode::Kind::scalar;
    key.text = entry.key;
    key.position = entry.position;
    read_options(key, find(key, entry.key), entry.value);
  }

  std::vector<VariantRequest> take() { return std::move(requests_); }

 private:
  const Variant* find(const YamlNode& at, const std::string& name) {
    if (const Variant* variant = find_variant(table_, name)) return variant;
    std::vector<std::string> names;
    for (const Variant* variant : table_) names.emplace_back(variant->name);
    const std::string close = closest_name(name, names);
    reader_.error(at, fmt::format("unknown variant '{}'", printable(name)),
                  close.empty() ? "" : fmt::format("did you mean '{}'?", close),
                  {fmt::format("variants: {}", fmt::join(names, ", "))});
    return nullptr;
  }

  void read_options(const YamlNode& at, const Variant* variant, const YamlNode& map) {
    if (variant == nullptr) return;
    std::vector<Axis> axes;
    if (map.kind != YamlNode::Kind::null) {
      std::vector<std::string> known = option_names(*variant);
      known.push_back("sweep");
      if (!reader_.check_keys(map, variant->name, known)) return;
      for (const YamlEntry& entry : map.entries) {
        if (entry.key == "sweep") {
          read_sweep(*variant, entry.value, axes);
        } else {
          add_axis(*variant, entry, {&entry.value}, axes);
        }
      }
    }
    expand(at, *variant, axes);
  }

  void read_sweep(const Variant& variant, const YamlNode& map, std::vector<Axis>& axes) {
    if (!reader_.check_keys(map, "sweep", option_names(variant))) return;
    for (const YamlEntry& entry : map.entries) {
      if (!entry.value.is_list() || entry.value.items.empty()) {
        reader_.error(entry.value, fmt::format("sweep over '{}' is {}, expected a list of values",
                                               printable(entry.key), describe(entry.value)));
        continue;
      }
      std::vector<const YamlNode*> values;
      for (const YamlNode& item : entry.value.items) values.push_back(&item);
      add_axis(variant, entry, values, axes);
    }
  }

  void add_axis(const Variant& variant, const YamlEntry& entry,
                const std::vector<const YamlNode*>& values, std::vector<Axis>& axes) {
    const auto option = std::ranges::find(variant.options, entry.key, &Option::name);
    if (option == variant.options.end()) return;  // already reported as an unknown key
    const bool taken =
        std::ranges::any_of(axes, [&](const Axis& axis) { return axis.option == &*option; });
    if (taken) {
      reader_.error_at_key(
          entry, fmt::format("option '{}' is given twice, alone and in sweep", entry.key));
      return;
    }
    Axis axis{&*option, {}};
    for (const YamlNode* value : values) {
      if (const auto text = option_text(*value, *option)) {
        try {
          axis.values.push_back(to_text(parse_option(*option, *text)));
        } catch (const OptionError& error) {
          std::vector<std::string> notes = {fmt::format("{}: {}", option->name, option->doc)};
          if (value->is_list()) {
            notes.push_back(fmt::format("to try several values, write sweep: {{{}: {}}}",
                                        option->name, printable(*text)));
          }
          reader_.error(*value, printable(error.what()), "", notes);
        }
      }
    }
    if (!axis.values.empty()) axes.push_back(std::move(axis));
  }

  // Text in quotes is text, whatever it looks like.
  static bool is_number_in_quotes(const YamlNode& node, const Option& option) {
    return node.quoted && option.type != OptionType::choice && option.type != OptionType::path &&
           option.type != OptionType::numbers_or_path;
  }

  // As parse_option reads it: scalars as they stand, lists in brackets.
  std::optional<std::string> option_text(const YamlNode& node, const Option& option) {
    if (node.is_scalar()) {
      if (!is_number_in_quotes(node, option)) return node.text;
      reader_.error(node,
                    fmt::format("option '{}' is {}, expected a {}", option.name, describe(node),
                                to_string(option.type)),
                    "without the quotes");
      return std::nullopt;
    }
    if (node.is_list()) {
      std::vector<std::string> parts;
      for (const YamlNode& item : node.items) {
        if (!item.is_scalar() || item.quoted) {
          reader_.error(item, fmt::format("option '{}' holds {}, expected numbers", option.name,
                                          describe(item)));
          return std::nullopt;
        }
        parts.push_back(item.text);
      }
      return fmt::format("[{}]", fmt::join(parts, ", "));
    }
    reader_.error(node,
                  fmt::format("option '{}' is {}, expected a value", option.name, describe(node)));
    return std::nullopt;
  }

  // The product of all axes, the last one fastest.
  void expand(const YamlNode& at, const Variant& variant, const std::vector<Axis>& axes) {
    double settings = 1;
    for (const Axis& axis : axes) settings *= static_cast<double>(axis.values.size());
    counted_ += settings;
    if (counted_ > most_) {
      if (counted_ - settings <= most_) {
        reader_.error(at, fmt::format("{} with {:.6g} settings makes {:.6g} in all; "
                                      "limits.max_cells is {:.0f}",
                                      variant.name, settings, counted_, most_));
      }
      return;
    }
    for (size_t n = 0; n < static_cast<size_t>(settings); ++n) {
      std::vector<std::pair<std::string, std::string>> given;
      size_t rest = n;
      for (size_t a = axes.size(); a-- > 0; rest /= axes[a].values.size()) {
        given.emplace_back(axes[a].option->name, axes[a].values[rest % axes[a].values.size()]);
      }
      add(at, {&variant, Options(variant.options, given)});
    }
  }

  void add(const YamlNode& at, VariantRequest request) {
    std::string settings(request.variant->name);
    for (const auto& [name, value] : request.options.all()) {
      settings += fmt::format(" {}={}", name, to_text(value));
    }
    if (!taken_.insert(settings).second) {
      reader_.error(at, fmt::format("{} stands in the list twice", printable(settings)));
      return;
    }
    requests_.push_back(std::move(request));
  }

  const std::span<const Variant* const> table_;
  const double most_;
  ConfigReader& reader_;
  double counted_ = 0;
  std::set<std::string> taken_;
  std::vector<VariantRequest> requests_;
};

}  // namespace

std::vector<VariantRequest> read_variants(const YamlNode& list,
                                          std::span<const Variant* const> table, Index most,
                                          ConfigReader& reader) {
  if (!list.is_list() || list.items.empty()) {
    reader.error(list, fmt::format("variants is {}, expected a list with at least one variant",
                                   describe(list)));
    return {};
  }
  VariantReader variants(table, most, reader);
  for (const YamlNode& node : list.items) variants.read(node);
  return variants.take();
}

}  // namespace longattn
