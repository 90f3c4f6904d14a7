#include "experiments/config/schema.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/config/keys.h"
#include "experiments/inputs/generator.h"

namespace longattn {
namespace {

using nlohmann::json;

json one_or_more(const json& value, bool distinct) {
  json list = {{"type", "array"}, {"items", value}};
  if (distinct) list.update({{"minItems", 1}, {"uniqueItems", true}});
  return {{"anyOf", {value, list}}};
}

// A number with a unit: 20ms.
template <size_t count>
json with_unit(const std::array<std::pair<std::string_view, double>, count>& units) {
  std::string names;
  for (const auto& [name, factor] : units) names += (names.empty() ? "" : "|") + std::string(name);
  return {{"type", "string"},
          {"pattern", fmt::format("^(0|[1-9][0-9]*)?(\\.[0-9]*)?([eE][+-]?[0-9]+)?({})$", names)}};
}

json numeric(const char* type, double least, double most) {
  json out = {{"type", type}};
  const auto bound = [&](const char* name, double value) {
    if (!std::isfinite(value)) return;
    if (value == std::floor(value) && std::abs(value) < 0x1p63) {
      out[name] = static_cast<Index>(value);
    } else {
      out[name] = value;
    }
  };
  bound("minimum", least);
  bound("maximum", most);
  return out;
}

json type_of(const Key& key) {
  const auto [least, most] = key.bounds;
  switch (key.type) {
    case KeyType::integer:
      return numeric("integer", least, most);
    case KeyType::integers:
      return one_or_more(numeric("integer", least, most), true);
    case KeyType::number:
      return numeric("number", least, most);
    case KeyType::boolean:
      return {{"type", "boolean"}};
    case KeyType::text:  // in YAML, 2024 without quotes is a number
      return {{"type", {"string", "number", "boolean"}}};
    case KeyType::choice:
      return {{"enum", key.choices}};
    case KeyType::path:
      return {{"type", "string"}, {"minLength", 1}};
    case KeyType::duration:
      return with_unit(kTimeUnits);
    case KeyType::size:
      return with_unit(kSizeUnits);
    case KeyType::map:
    case KeyType::list:
      return {{"$ref", "#/$defs/" + key.name}};
  }
  return {};
}

json schema_of(const Key& key) {
  json out = type_of(key);
  out["description"] = key.doc;
  if (key.name == "name") {
    out["pattern"] = fmt::format("^[A-Za-z0-9_-][A-Za-z0-9_.-]*$");
    out["maxLength"] = kLongestName;
  }
  if (!key.fallback.empty()) {
    const json value = json::parse(key.fallback, nullptr, false);
    out["default"] = value.is_discarded() ? json(key.fallback) : value;
  }
  return out;
}

// A map of these keys and no others; with `sweep` and `zip` of lists of their values if `sweeps`.
json map_of(const json& properties, bool sweeps) {
  json out = {{"type", "object"}, {"additionalProperties", false}, {"properties", properties}};
  if (!sweeps) return out;
  json lists = json::object();
  for (const auto& [name, value] : properties.items()) {
    lists[name] = {{"type", "array"}, {"minItems", 1}, {"items", value}};
  }
  for (const auto& [name, doc] :
       {std::pair("sweep", "Lists of values; every combination is measured"),
        {"zip", "Lists of values, equally long: the first of each, then the second, and so on"}}) {
    out["properties"][name] = map_of(lists, false);
    out["properties"][name]["description"] = doc;
  }
  return out;
}

json schema_of(const Section& section) {
  json properties = json::object();
  for (const Key& key : section.keys) properties[key.name] = schema_of(key);
  return map_of(properties, section.sweeps);
}

json value_of(const OptionValue& value) {
  return std::visit(
      [](const auto& v) -> json {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, Automatic>) {
          return "auto";
        } else {
          return v;
        }
      },
      value);
}

json type_of(const Option& option) {
  const json number =
      numeric(option.type == OptionType::integer || option.type == OptionType::integers ? "integer"
                                                                                        : "number",
              option.minimum, option.maximum);
  switch (option.type) {
    case OptionType::boolean:
      return {{"type", "boolean"}};
    case OptionType::integer:
    case OptionType::number:
      return number;
    case OptionType::choice:
      return {{"enum", option.choices}};
    case OptionType::path:
      return {{"type", "string"}};
    case OptionType::integers:
    case OptionType::numbers:
      return one_or_more(number, false);
    case OptionType::numbers_or_path: {
      json out = one_or_more(number, false);
      out["anyOf"].push_back({{"type", "string"}});
      return out;
    }
  }
  return {};
}

json schema_of(const Option& option) {
  json out = type_of(option);
  if (option.may_be_auto) out = {{"anyOf", {out, {{"const", "auto"}}}}};
  out["description"] = option.doc;
  out["default"] = value_of(option.default_value);
  if (option.type == OptionType::path && !option.choices.empty()) out["examples"] = option.choices;
  return out;
}

json schema_of(const OptionList& options) {
  json properties = json::object();
  for (const Option& option : options) properties[option.name] = schema_of(option);
  return properties;
}

// The list: names, or maps of one name to its options.
json schema_of_variants(std::span<const Variant* const> variants) {
  json names = json::array(), maps = json::object();
  for (const Variant* variant : variants) {
    const std::string name(variant->name);
    names.push_back(name);
    maps[name] = map_of(schema_of(variant->options), true);
    maps[name]["type"] = {"object", "null"};
    maps[name]["description"] = fmt::format("{} ({})", variant->summary, variant->paper);
  }
  const json map = {{"type", "object"},
                    {"minProperties", 1},
                    {"maxProperties", 1},
                    {"additionalProperties", false},
                    {"properties", maps}};
  return {{"type", "array"}, {"minItems", 1}, {"items", {{"anyOf", {{{"enum", names}}, map}}}}};
}

json schema_of_inputs() {
  json input = schema_of(input_keys());
  std::vector<std::string_view> sources = {"trace"};
  for (const Generator* generator : generators()) sources.push_back(generator->name);
  json pairs = json::array(), one = json::array();
  for (size_t a = 0; a < sources.size(); ++a) {
    one.push_back({{"required", {sources[a]}}});
    for (size_t b = 0; b < a; ++b) pairs.push_back({{"required", {sources[b], sources[a]}}});
  }
  for (const char* several : {"sweep", "zip"}) one.push_back({{"required", {several}}});
  input["not"] = {{"anyOf", pairs}};
  input["anyOf"] = one;
  return {{"type", "array"}, {"minItems", 1}, {"items", input}};
}

// A file that extends another one takes a key of it away by giving it nothing (~): in maps, which
// are merged; lists are replaced.
json or_nothing(const json& map) {
  json out = map;
  for (auto& [name, value] : out["properties"].items()) {
    json inner = std::move(value);
    value = json::object();
    for (const char* annotation : {"description", "default"}) {
      if (!inner.contains(annotation)) continue;
      value[annotation] = std::move(inner[annotation]);
      inner.erase(annotation);
    }
    value["anyOf"] = {std::move(inner), {{"type", "null"}}};
  }
  return out;
}

// What a map without nothing in it meets besides.
json something_of(const json& map) {
  json properties = json::object();
  for (const auto& [name, value] : map["properties"].items()) {
    properties[name] = {{"not", {{"type", "null"}}}};
  }
  return {{"properties", properties}};
}

}  // namespace

json config_schema(std::span<const Variant* const> variants) {
  const json all = schema_of(config_keys());
  json out = or_nothing(all);
  // Without these there is no experiment.
  for (const char* name : {"extends", "longattn", "name", "inputs", "variants"}) {
    out["properties"][name] = all["properties"][name];
  }
  out["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  out["title"] = "An experiment of longattn";
  // What a file does not say itself may be said in the file that it extends.
  json alone = something_of(all);
  alone["required"] = {"longattn", "name", "inputs", "variants"};
  json maps = json::object();
  for (const auto& [name, section] : {std::pair("problem", &problem_keys()),
                                      {"measure", &measure_keys()},
                                      {"limits", &limits_keys()}}) {
    const json map = schema_of(*section);
    alone["properties"][name].update(something_of(map));
    maps[name] = or_nothing(map);
  }
  out["anyOf"] = {alone, {{"required", {"extends"}}}};
  out["$defs"] = maps;
  out["$defs"].update(
      {{"inputs", schema_of_inputs()},
       {"variants", schema_of_variants(variants)},
       {"clusters", {{"type", "array"}, {"minItems", 1}, {"items", schema_of(cluster_keys())}}}});
  for (const Generator* generator : generators()) {
    json& map = out["$defs"][std::string(generator->name)];
    map = map_of(schema_of(generator->options), true);
    map["description"] = fmt::format("{}: {}", generator->summary, generator->why);
  }
  return out;
}

}  // namespace longattn
