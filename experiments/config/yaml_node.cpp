#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/io/file.h"
#include "core/io/text.h"
#include "experiments/config/yaml_tree.h"

namespace longattn {

const YamlEntry* YamlNode::entry(std::string_view key) const {
  const auto found = std::ranges::find(entries, key, &YamlEntry::key);
  return found == entries.end() ? nullptr : &*found;
}

const YamlNode* YamlNode::find(std::string_view key) const {
  const YamlEntry* found = entry(key);
  return found == nullptr ? nullptr : &found->value;
}

size_t YamlNode::width() const {
  if (!is_scalar() || text.find('\n') != std::string::npos) return 1;
  return std::max<size_t>(1, count_characters(text) + (quoted ? 2 : 0));
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "nothing";
    case YamlNode::Kind::list:
      return "a list";
    case YamlNode::Kind::map:
      return "a map";
    case YamlNode::Kind::scalar:
      break;
  }
  std::string shown = printable(node.text.substr(0, 60));
  if (node.text.size() > 60) shown += "...";
  return node.quoted ? fmt::format("the quoted text \"{}\"", shown) : fmt::format("'{}'", shown);
}

size_t YamlNode::count() const {
  size_t all = 1;
  for (const YamlNode& item : items) all += item.count();
  for (const YamlEntry& one : entries) all += one.value.count();
  return all;
}

int YamlNode::height() const {
  int below = 0;
  for (const YamlNode& item : items) below = std::max(below, item.height());
  for (const YamlEntry& one : entries) below = std::max(below, one.value.height());
  return below + (is_list() || is_map() ? 1 : 0);
}

std::string read_yaml_text(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw IoError(fmt::format("{}: is a folder, expected a YAML file", printable(path)));
  }
  const InputFile file(path);
  if (static_cast<size_t>(file.size()) > kYamlMaxBytes) {
    throw ConfigError(fmt::format("error: {}: {} bytes, a config has at most {}", printable(path),
                                  file.size(), kYamlMaxBytes));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace longattn
