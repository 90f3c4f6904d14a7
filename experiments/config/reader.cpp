#include "experiments/config/reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "core/io/text.h"

namespace longattn {
namespace {

// One reader of numbers for options and for the rest of a config: decimal, no 010, 0x10 or 1_000.
std::optional<OptionValue> parse(OptionType type, Bounds bounds, std::string_view text) {
  Option option{.name = "value", .type = type, .default_value = Index{0}, .doc = ""};
  option.minimum = bounds.least;
  option.maximum = bounds.most;
  try {
    return parse_option(option, text);
  } catch (const OptionError&) {
    return std::nullopt;
  }
}

std::string range(Bounds bounds) {
  const auto plain = [](double value) {  // 1000000, not 1e+06
    const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
    return whole ? to_text(static_cast<Index>(value)) : to_text(value);
  };
  return bounds.most >= 1e15 ? fmt::format(">= {}", plain(bounds.least))
                             : fmt::format("in {}..{}", plain(bounds.least), plain(bounds.most));
}

}  // namespace

void ConfigReader::error(const YamlNode& at, std::string message, std::string hint,
                         std::vector<std::string> notes) {
  diagnostics_.add(
      {at.position, at.width(), std::move(message), std::move(hint), std::move(notes)});
}

void ConfigReader::error_within(const YamlNode& text, size_t offset, size_t width,
                                std::string message, std::string hint,
                                std::vector<std::string> notes) {
  const std::string_view whole = text.text;
  Position at = text.position;
  const auto& lines = diagnostics_.source(at).lines;
  const auto line = static_cast<size_t>(at.line - 1);
  // A text in quotes with escapes, or of several lines, stands otherwise in the file than in
  // memory.
  size_t column = 0;
  for (int n = 1; line < lines.size() && n < at.column && column < lines[line].size(); ++n) {
    column += std::max<size_t>(decode_utf8(std::string_view(lines[line]).substr(column)).bytes, 1);
  }
  column += text.quoted ? 1 : 0;
  if (line >= lines.size() || lines[line].compare(column, whole.size(), whole) != 0) {
    notes.insert(
        notes.begin(),
        fmt::format("at '{}' in '{}'", printable(whole.substr(offset, width)), printable(whole)));
    return error(text, std::move(message), std::move(hint), std::move(notes));
  }
  at.column += static_cast<int>(count_characters(whole.substr(0, offset)) + (text.quoted ? 1 : 0));
  const size_t characters = count_characters(whole.substr(offset, width));
  diagnostics_.add(
      {at, std::max<size_t>(characters, 1), std::move(message), std::move(hint), std::move(notes)});
}

std::string ConfigReader::resolved(const YamlNode& at, const std::string& path) const {
  const SourceText& source = diagnostics_.source(at.position);
  const std::filesystem::path folder =
      source.is_argument ? "" : std::filesystem::path(source.name).parent_path();
  return (folder / path).lexically_normal().string();
}

void ConfigReader::data_error(const YamlNode& at, std::string message) {
  diagnostics_.add({.position = at.position,
                    .width = at.width(),
                    .message = std::move(message),
                    .hint = "",
                    .notes = {},
                    .in_data = true});
}

void ConfigReader::error_at_key(const YamlEntry& at, std::string message, std::string hint,
                                std::vector<std::string> notes) {
  diagnostics_.add({at.position, std::max<size_t>(count_characters(at.key), 1), std::move(message),
                    std::move(hint), std::move(notes)});
}

bool ConfigReader::check_keys(const YamlNode& map, std::string_view what,
                              const std::vector<std::string>& known) {
  if (!map.is_map()) {
    error(map, fmt::format("{} is {}, expected a map", what, describe(map)), "",
          {fmt::format("{} takes: {}", what, fmt::join(known, ", "))});
    return false;
  }
  for (const YamlEntry& entry : map.entries) {
    if (std::ranges::find(known, entry.key) != known.end()) continue;
    // The distance of words is not cheap, and nobody reads the thousandth suggestion.
    const std::string close =
        diagnostics_.size() < 1000 ? closest_name(entry.key, known) : std::string();
    error_at_key(entry, fmt::format("unknown key '{}'", printable(entry.key)),
                 close.empty() ? "" : fmt::format("did you mean '{}'?", close),
                 {fmt::format("{} takes: {}", what, fmt::join(known, ", "))});
  }
  return true;
}

void ConfigReader::expected(const YamlNode& node, const Key& key, std::string_view expectation) {
  error(node, fmt::format("{} is {}, expected {}", key.called(), describe(node), expectation));
}

std::optional<Index> ConfigReader::integer(const YamlNode& node, const Key& key) {
  if (node.is_scalar() && !node.quoted) {
    if (const auto value = parse(OptionType::integer, key.bounds, node.text)) {
      return std::get<Index>(*value);
    }
  }
  expected(node, key, "an integer " + range(key.bounds));
  return std::nullopt;
}

std::optional<double> ConfigReader::number(const YamlNode& node, const Key& key) {
  if (node.is_scalar() && !node.quoted) {
    if (const auto value = parse(OptionType::number, key.bounds, node.text)) {
      return std::get<double>(*value);
    }
  }
  expected(node, key, "a number " + range(key.bounds));
  return std::nullopt;
}

std::optional<bool> ConfigReader::boolean(const YamlNode& node, const Key& key) {
  if (node.is_scalar() && !node.quoted && (node.text == "true" || node.text == "false")) {
    return node.text == "true";
  }
  expected(node, key, "true or false");
  return std::nullopt;
}

std::optional<std::string> ConfigReader::text(const YamlNode& node, const Key& key) {
  if (node.is_scalar() && !node.text.empty()) return node.text;
  expected(node, key, "text");
  return std::nullopt;
}

std::optional<std::string> ConfigReader::choice(const YamlNode& node, const Key& key) {
  if (node.is_scalar() && std::ranges::find(key.choices, node.text) != key.choices.end()) {
    return node.text;
  }
  expected(node, key, fmt::format("one of {}", fmt::join(key.choices, ", ")));
  return std::nullopt;
}

std::optional<double> ConfigReader::with_unit(
    const YamlNode& node, std::span<const std::pair<std::string_view, double>> units) {
  if (!node.is_scalar() || node.quoted) return std::nullopt;
  for (const auto& [unit, factor] : units) {
    if (!node.text.ends_with(unit)) continue;
    const std::string_view digits =
        std::string_view(node.text).substr(0, node.text.size() - unit.size());
    if (digits.ends_with(' ')) return std::nullopt;  // `20 s` is two words
    const auto value = parse(OptionType::number, {0, 1e18}, digits);
    if (value && std::get<double>(*value) > 0) return std::get<double>(*value) * factor;
  }
  return std::nullopt;
}

std::optional<double> ConfigReader::duration(const YamlNode& node, const Key& key) {
  const auto seconds = with_unit(node, kTimeUnits);
  if (!seconds) expected(node, key, "a duration such as 20ms, 60s or 2m");
  return seconds;
}

std::optional<double> ConfigReader::size(const YamlNode& node, const Key& key) {
  const auto bytes = with_unit(node, kSizeUnits);
  if (!bytes) expected(node, key, "a size such as 512MiB, 8GiB or 2GB");
  return bytes;
}

std::vector<std::pair<Index, const YamlNode*>> ConfigReader::integers(const YamlNode& node,
                                                                      const Key& key) {
  std::vector<std::pair<Index, const YamlNode*>> values;
  if (!node.is_list()) {
    if (const auto value = integer(node, key)) values.emplace_back(*value, &node);
    return values;
  }
  if (node.items.empty()) {
    error(node, fmt::format("{}: the list is empty, expected at least one integer", key.called()));
  }
  std::set<Index> seen;
  for (const YamlNode& item : node.items) {
    const auto value = integer(item, key);
    if (!value) continue;
    if (!seen.insert(*value).second) {
      error(item, fmt::format("{} {} stands in the list twice", key.called(), *value));
    } else {
      values.emplace_back(*value, &item);
    }
  }
  return values;
}

// As parse_option reads it: scalars as they stand, lists in brackets. Text in quotes is text,
// whatever it looks like.
std::optional<std::string> ConfigReader::option_text(const YamlNode& node, const Option& option) {
  if (node.is_scalar()) {
    const bool takes_text = option.type == OptionType::choice || option.type == OptionType::path ||
                            option.type == OptionType::numbers_or_path;
    if (!node.quoted || takes_text) return node.text;
    error(node,
          fmt::format("option '{}' is {}, expected a {}", option.name, describe(node),
                      to_string(option.type)),
          "without the quotes");
    return std::nullopt;
  }
  if (node.is_list()) {
    std::vector<std::string> parts;
    for (const YamlNode& item : node.items) {
      if (!item.is_scalar() || item.quoted) {
        error(item,
              fmt::format("option '{}' holds {}, expected numbers", option.name, describe(item)));
        return std::nullopt;
      }
      parts.push_back(item.text);
    }
    return fmt::format("[{}]", fmt::join(parts, ", "));
  }
  error(node, fmt::format("option '{}' is {}, expected a value", option.name, describe(node)));
  return std::nullopt;
}

std::optional<OptionValue> ConfigReader::option(const YamlNode& node, const Option& option,
                                                bool may_sweep) {
  const auto text = option_text(node, option);
  if (!text) return std::nullopt;
  try {
    return parse_option(option, *text);
  } catch (const OptionError& wrong) {
    std::vector<std::string> notes = {fmt::format("{}: {}", option.name, option.doc)};
    if (node.is_list() && may_sweep) {
      notes.push_back(fmt::format("to try several values, write sweep: {{{}: {}}}", option.name,
                                  printable(*text)));
    }
    error(node, printable(wrong.what()), "", notes);
    return std::nullopt;
  }
}

}  // namespace longattn
