#include "experiments/config/variants.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/io/npy.h"
#include "core/io/text.h"
#include "experiments/config/settings.h"

namespace longattn {
namespace {

std::vector<std::string> option_names(const Variant& variant) {
  std::vector<std::string> names;
  for (const Option& option : variant.options) names.push_back(option.name);
  return names;
}

class VariantReader {
 public:
  VariantReader(std::span<const Variant* const> table, Index most, ConfigReader& reader)
      : table_(table), most_(most), reader_(reader) {}

  void read(const YamlNode& node) {
    if (node.is_scalar()) return read_options(node, find(node, node.text), {});
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
    static const YamlNode kNoOptions{.kind = YamlNode::Kind::map, .entries = {}};
    const std::vector<Setting> settings =
        read_settings(map.kind == YamlNode::Kind::null ? kNoOptions : map, variant->name,
                      option_names(*variant), most_, reader_);
    counted_ += static_cast<Index>(settings.size());
    if (counted_ > most_) {
      if (counted_ - static_cast<Index>(settings.size()) <= most_) {
        reader_.error(at, fmt::format("{} with {} settings makes {} in all; limits.max_cells is {}",
                                      variant->name, settings.size(), counted_, most_));
      }
      return;
    }
    for (const Setting& setting : settings) read_setting(at, *variant, setting);
  }

  void read_setting(const YamlNode& at, const Variant& variant, const Setting& setting) {
    std::vector<std::pair<std::string, std::string>> given;
    for (const Setting::Value& value : setting.values) {
      const auto option = std::ranges::find(variant.options, value.key->key, &Option::name);
      auto parsed = reader_.option(*value.value, *option, !value.swept);
      if (!parsed) continue;
      if (names_file(*option, *parsed) && !find_file(*value.value, *option, *parsed)) continue;
      given.emplace_back(option->name, to_text(*parsed));
    }
    if (given.size() == setting.values.size()) add(at, {&variant, Options(variant.options, given)});
  }

  // Puts the place of a file in the place of its name. False, with an error, when it is not there
  // or no .npy file.
  bool find_file(const YamlNode& at, const Option& option, OptionValue& value) {
    auto& name = std::get<std::string>(value);
    const std::string close = closest_name(name, option.choices);
    name = reader_.resolved(at, name);
    try {
      read_npy_header(InputFile(name));
      return true;
    } catch (const IoError& error) {
      std::vector<std::string> notes = {fmt::format("{}: {}", option.name, option.doc),
                                        "a file is looked for beside the config file"};
      if (!option.choices.empty()) {
        notes.push_back(fmt::format("names: {}", fmt::join(option.choices, ", ")));
      }
      reader_.error(at, error.what(), close.empty() ? "" : fmt::format("did you mean '{}'?", close),
                    notes);
    } catch (const Error& error) {
      reader_.data_error(at, error.what());
    }
    return false;
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
  const Index most_;
  ConfigReader& reader_;
  Index counted_ = 0;
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
