#include "experiments/config/reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/io/text.h"
#include "core/options.h"

namespace longattn {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 3> kTimes = {
    {{"ms", 1e-3}, {"s", 1}, {"m", 60}}};
constexpr std::array<std::pair<std::string_view, double>, 6> kSizes = {
    {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}}};

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

void ConfigReader::expected(const YamlNode& node, std::string_view what,
                            std::string_view expectation) {
  error(node, fmt::format("{} is {}, expected {}", what, describe(node), expectation));
}

std::optional<Index> ConfigReader::integer(const YamlNode& node, std::string_view what,
                                           Bounds bounds) {
  if (node.is_scalar() && !node.quoted) {
    if (const auto value = parse(OptionType::integer, bounds, node.text)) {
      return std::get<Index>(*value);
    }
  }
  expected(node, what, "an integer " + range(bounds));
  return std::nullopt;
}

std::optional<double> ConfigReader::number(const YamlNode& node, std::string_view what,
                                           Bounds bounds) {
  if (node.is_scalar() && !node.quoted) {
    if (const auto value = parse(OptionType::number, bounds, node.text)) {
      return std::get<double>(*value);
    }
  }
  expected(node, what, "a number " + range(bounds));
  return std::nullopt;
}

std::optional<bool> ConfigReader::boolean(const YamlNode& node, std::string_view what) {
  if (node.is_scalar() && !node.quoted && (node.text == "true" || node.text == "false")) {
    return node.text == "true";
  }
  expected(node, what, "true or false");
  return std::nullopt;
}

std::optional<std::string> ConfigReader::text(const YamlNode& node, std::string_view what) {
  if (node.is_scalar() && !node.text.empty()) return node.text;
  expected(node, what, "text");
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

std::optional<double> ConfigReader::duration(const YamlNode& node, std::string_view what) {
  const auto seconds = with_unit(node, kTimes);
  if (!seconds) expected(node, what, "a duration such as 20ms, 60s or 2m");
  return seconds;
}

std::optional<double> ConfigReader::size(const YamlNode& node, std::string_view what) {
  const auto bytes = with_unit(node, kSizes);
  if (!bytes) expected(node, what, "a size such as 512MiB, 8GiB or 2GB");
  return bytes;
}

std::vector<std::pair<Index, const YamlNode*>> ConfigReader::integers(const YamlNode& node,
                                                                      std::string_view what,
                                                                      Bounds bounds) {
  std::vector<std::pair<Index, const YamlNode*>> values;
  if (!node.is_list()) {
    if (const auto value = integer(node, what, bounds)) values.emplace_back(*value, &node);
    return values;
  }
  if (node.items.empty()) {
    error(node, fmt::format("{}: the list is empty, expected at least one integer", what));
  }
  std::set<Index> seen;
  for (const YamlNode& item : node.items) {
    const auto value = integer(item, what, bounds);
    if (!value) continue;
    if (!seen.insert(*value).second) {
      error(item, fmt::format("{} {} stands in the list twice", what, *value));
    } else {
      values.emplace_back(*value, &item);
    }
  }
  return values;
}

}  // namespace longattn
