#include "tests/experiments/json_schema.h"

#include <algorithm>
#include <cmath>
#include <regex>
#include <stdexcept>

namespace longattn {
namespace {

using nlohmann::json;

bool has_type(const json& value, const std::string& type) {
  if (type == "integer") {
    return value.is_number_integer() ||
           (value.is_number() && value.get<double>() == std::floor(value.get<double>()));
  }
  if (type == "number") return value.is_number();
  return type == (value.is_object()    ? "object"
                  : value.is_array()   ? "array"
                  : value.is_string()  ? "string"
                  : value.is_boolean() ? "boolean"
                  : value.is_null()    ? "null"
                                       : "");
}

class Checker {
 public:
  explicit Checker(const json& root) : root_(root) {}

  std::vector<std::string> check(const json& schema, const json& value,
                                 const std::string& path) const {
    if (schema.is_boolean()) {
      if (schema.get<bool>()) return {};
      return {path + ": not allowed"};
    }
    std::vector<std::string> found;
    for (const auto& [keyword, rule] : schema.items()) {
      for (std::string& one : apply(keyword, rule, schema, value, path)) {
        found.push_back(std::move(one));
      }
    }
    return found;
  }

 private:
  using Complaints = std::vector<std::string>;

  Complaints apply(const std::string& keyword, const json& rule, const json& schema,
                   const json& value, const std::string& path) const {
    const auto unless = [&](bool holds) {
      return holds ? Complaints{} : Complaints{path + ": " + keyword + " " + rule.dump()};
    };
    for (const char* annotation :
         {"$schema", "$defs", "title", "description", "default", "examples"}) {
      if (keyword == annotation) return {};
    }
    if (keyword == "$ref") {
      return check(root_.at(json::json_pointer(rule.get<std::string>().substr(1))), value, path);
    }
    if (keyword == "type") {
      const json types = rule.is_array() ? rule : json::array({rule});
      return unless(std::ranges::any_of(types, [&](const json& t) { return has_type(value, t); }));
    }
    if (keyword == "enum") return unless(std::ranges::find(rule, value) != rule.end());
    if (keyword == "const") return unless(value == rule);
    if (keyword == "anyOf") {
      return unless(std::ranges::any_of(
          rule, [&](const json& one) { return check(one, value, path).empty(); }));
    }
    if (keyword == "not") return unless(!check(rule, value, path).empty());
    if (keyword == "minimum") return unless(!value.is_number() || value >= rule);
    if (keyword == "maximum") return unless(!value.is_number() || value <= rule);
    if (keyword == "pattern") {
      return unless(!value.is_string() || std::regex_search(value.get<std::string>(),
                                                            std::regex(rule.get<std::string>())));
    }
    if (keyword == "minLength") return unless(!value.is_string() || length(value) >= rule);
    if (keyword == "maxLength") return unless(!value.is_string() || length(value) <= rule);
    if (keyword == "minItems") return unless(!value.is_array() || value.size() >= rule);
    if (keyword == "uniqueItems") {
      if (!value.is_array()) return {};
      std::vector<json> items = value;
      std::ranges::sort(items);
      return unless(std::ranges::adjacent_find(items) == items.end());
    }
    if (keyword == "minProperties") return unless(!value.is_object() || value.size() >= rule);
    if (keyword == "maxProperties") return unless(!value.is_object() || value.size() <= rule);
    if (keyword == "required") {
      return unless(!value.is_object() || std::ranges::all_of(rule, [&](const json& key) {
        return value.contains(key.get<std::string>());
      }));
    }
    Complaints found;
    if (keyword == "items") {
      if (value.is_array()) append_items(rule, value, path, found);
      return found;
    }
    if (keyword == "properties") {
      for (const auto& [key, one] : rule.items()) {
        if (value.is_object() && value.contains(key)) {
          append(found, check(one, value.at(key), path + "." + key));
        }
      }
      return found;
    }
    if (keyword == "additionalProperties") {
      if (!value.is_object()) return {};
      for (const auto& [key, inner] : value.items()) {
        if (!schema.at("properties").contains(key)) {
          append(found, check(rule, inner, path + "." + key));
        }
      }
      return found;
    }
    throw std::logic_error("unknown JSON Schema keyword '" + keyword + "'");
  }

  static size_t length(const json& text) { return count_characters(text.get<std::string>()); }
  static void append(Complaints& to, Complaints from) {
    std::ranges::move(from, std::back_inserter(to));
  }
  void append_items(const json& rule, const json& list, const std::string& path,
                    Complaints& found) const {
    for (size_t n = 0; n < list.size(); ++n) {
      append(found, check(rule, list[n], path + "." + std::to_string(n)));
    }
  }

  const json& root_;
};

}  // namespace

std::vector<std::string> schema_complaints(const json& schema, const json& value) {
  return Checker(schema).check(schema, value, "config");
}

json to_json(const YamlNode& node) {
  if (node.is_list()) {
    json list = json::array();
    for (const YamlNode& item : node.items) list.push_back(to_json(item));
    return list;
  }
  if (node.is_map()) {
    json map = json::object();
    for (const YamlEntry& entry : node.entries) map[entry.key] = to_json(entry.value);
    return map;
  }
  if (node.kind == YamlNode::Kind::null) return nullptr;
  if (node.quoted) return node.text;
  if (node.text == "true" || node.text == "false") return node.text == "true";
  static const std::regex kInteger("[-+]?[0-9]{1,18}");
  static const std::regex kFloat("[-+]?(\\.[0-9]+|[0-9]+(\\.[0-9]*)?)([eE][-+]?[0-9]+)?");
  if (std::regex_match(node.text, kInteger)) return std::stoll(node.text);
  if (std::regex_match(node.text, kFloat)) return std::stod(node.text);
  return node.text;
}

}  // namespace longattn
