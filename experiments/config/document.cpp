#include "experiments/config/document.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "core/io/text.h"

namespace longattn {
namespace {

namespace fs = std::filesystem;

bool is_of_lists(std::string_view key) { return key == "sweep" || key == "zip"; }

// Whatever a map says of a key: alone, in `sweep` or in `zip`.
void forget(YamlNode& map, std::string_view key, bool alone) {
  for (YamlEntry& entry : map.entries) {
    if (is_of_lists(entry.key)) {
      std::erase_if(entry.value.entries, [&](const YamlEntry& e) { return e.key == key; });
    }
  }
  if (alone) std::erase_if(map.entries, [&](const YamlEntry& e) { return e.key == key; });
}

// `child` on top of `base`, which becomes the whole. What the child says of a key, in whichever
// way, takes the place of what the base says.
void merge(YamlNode& base, YamlNode child) {
  for (const YamlEntry& entry : child.entries) {
    if (!is_of_lists(entry.key)) forget(base, entry.key, false);
    if (!is_of_lists(entry.key) || !entry.value.is_map()) continue;
    for (const YamlEntry& inner : entry.value.entries) forget(base, inner.key, true);
  }
  for (YamlEntry& entry : child.entries) {
    const auto found = std::ranges::find(base.entries, entry.key, &YamlEntry::key);
    if (found == base.entries.end()) {
      base.entries.push_back(std::move(entry));
    } else if (entry.value.kind == YamlNode::Kind::null) {
      base.entries.erase(found);
    } else if (found->value.is_map() && entry.value.is_map()) {
      merge(found->value, std::move(entry.value));
    } else {
      *found = std::move(entry);
    }
  }
  base.position = child.position;
}

// Follows `extends` from file to file.
class Extender {
 public:
  Extender(const std::string& path, Diagnostics& diagnostics)
      : diagnostics_(diagnostics), chain_{path} {}

  void resolve(YamlNode& node) {
    const auto entry = std::ranges::find(node.entries, "extends", &YamlEntry::key);
    if (entry == node.entries.end()) return;
    const YamlNode value = std::move(entry->value);
    node.entries.erase(entry);
    if (!value.is_scalar() || value.text.empty()) {
      return error(value,
                   fmt::format("extends is {}, expected the path of a file", describe(value)));
    }
    const fs::path folder = fs::path(chain_.back()).parent_path();
    const std::string path = (folder / value.text).lexically_normal().string();
    const bool circle =
        std::ranges::any_of(chain_, [&](const std::string& link) { return same(link, path); });
    chain_.push_back(path);
    if (circle) return error(value, "extends goes round in a circle");
    if (chain_.size() > kLongestChain) {
      return error(value, fmt::format("more than {} files extend each other", kLongestChain));
    }
    YamlNode base;
    try {
      base = parse_yaml({.name = path, .text = read_yaml_text(path)}, diagnostics_);
    } catch (const IoError& failure) {
      return error(value, fmt::format("extends: {}", failure.what()));
    }
    if (!base.is_map()) {
      return error(base, fmt::format("a config is {}, expected a map", describe(base)));
    }
    resolve(base);
    merge(base, std::move(node));
    node = std::move(base);
  }

 private:
  static bool same(const fs::path& a, const fs::path& b) {
    std::error_code error;
    return a == b || fs::equivalent(a, b, error);
  }
  void error(const YamlNode& at, std::string message) {
    std::vector<std::string> names;
    for (const std::string& link : chain_) names.push_back(printable(link));
    diagnostics_.add({at.position,
                      at.width(),
                      std::move(message),
                      "",
                      {fmt::format("{}", fmt::join(names, " extends "))}});
  }

  Diagnostics& diagnostics_;
  std::vector<std::string> chain_;  // as given, the config first
};

// Puts the value of one argument, key=value, where its path leads.
class Override {
 public:
  Override(YamlNode& root, const std::string& argument, Diagnostics& diagnostics)
      : root_(root), argument_(argument), diagnostics_(diagnostics) {}

  void apply() {
    const size_t equals = argument_.find('=');
    if (equals == std::string::npos || equals == 0) {
      source_ = diagnostics_.add_source({"--set", {argument_}, true});
      return error({0, argument_}, "expected KEY=VALUE",
                   {"for example: --set problem.head_dim=128 or --set inputs.0.layer=1"});
    }
    const std::string path = argument_.substr(0, equals + 1);
    YamlNode value = parse_yaml(
        {.name = "--set", .text = argument_.substr(path.size()), .argument = path}, diagnostics_);
    source_ = value.position.source;
    std::vector<Segment> segments;
    for (size_t start = 0; start <= equals;) {
      const size_t end = std::min(path.find('.', start), equals);
      segments.push_back({start, path.substr(start, end - start)});
      start = end + 1;
    }
    YamlNode* parent = &root_;
    for (size_t n = 0; n + 1 < segments.size(); ++n) {
      const bool lists = n + 2 == segments.size() && is_of_lists(segments[n].text);
      if (lists) forget(*parent, segments.back().text, true);
      parent = step(*parent, segments[n], segments[n + 1].text);
      if (parent == nullptr) return;
    }
    const Segment& last = segments.back();
    forget(*parent, last.text, false);
    if (value.kind == YamlNode::Kind::null && parent->is_map()) {
      std::erase_if(parent->entries, [&](const YamlEntry& e) { return e.key == last.text; });
    } else if (YamlNode* target = step(*parent, last, "")) {
      *target = std::move(value);
    }
  }

 private:
  struct Segment {
    size_t offset;  // bytes
    std::string text;
  };

  Position position(const Segment& segment) const {
    const size_t before = count_characters(std::string_view(argument_).substr(0, segment.offset));
    return {1, static_cast<int>(before) + 1, source_};
  }
  void error(const Segment& at, std::string message, std::vector<std::string> notes = {}) {
    diagnostics_.add({position(at), std::max<size_t>(count_characters(at.text), 1),
                      std::move(message), "", std::move(notes)});
  }

  // The child that a segment names, made where a map has none: the reader knows which keys there
  // are. nullptr, with an error, where there can be none.
  YamlNode* step(YamlNode& node, const Segment& segment, std::string_view next) {
    const std::string path =
        printable(argument_.substr(0, std::max<size_t>(segment.offset, 1) - 1));
    if (node.is_list()) return item(node, segment, path);
    if (node.kind == YamlNode::Kind::null) node.kind = YamlNode::Kind::map;
    if (node.is_scalar() && node.text == segment.text && !next.empty()) {
      node = {.kind = YamlNode::Kind::map,
              .position = node.position,
              .entries = {}};  // a variant by its name
    }
    if (!node.is_map()) {
      error(segment, fmt::format("{} is {}, which holds no '{}'", path, describe(node),
                                 printable(segment.text)));
      return nullptr;
    }
    auto found = std::ranges::find(node.entries, segment.text, &YamlEntry::key);
    if (found == node.entries.end()) {
      found = node.entries.insert(found, {segment.text, position(segment), {}});
      found->value.position = position(segment);
    }
    if (next.empty()) found->position = position(segment);
    return &found->value;
  }

  YamlNode* item(YamlNode& list, const Segment& segment, const std::string& path) {
    size_t index = 0;
    const char* end = segment.text.data() + segment.text.size();
    const auto [stop, code] = std::from_chars(segment.text.data(), end, index);
    if (code == std::errc() && stop == end && index < list.items.size()) return &list.items[index];
    error(segment, list.items.empty()
                       ? fmt::format("{} is an empty list", path)
                       : fmt::format("{} is a list of {}: expected an index in 0..{}", path,
                                     list.items.size(), list.items.size() - 1));
    return nullptr;
  }

  YamlNode& root_;
  const std::string& argument_;
  Diagnostics& diagnostics_;
  int source_ = 0;
};

std::string in_quotes(std::string_view text) {
  std::string result = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += fmt::format("\\{}", c);
    } else if (c == '\n') {
      result += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result + "\"";
}

bool is_plain_word(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  });
}

std::string scalar(const YamlNode& node) { return node.quoted ? in_quotes(node.text) : node.text; }

bool fits_one_line(const YamlNode& list) {
  return std::ranges::all_of(list.items, [](const YamlNode& item) {
    return item.is_scalar() && (item.quoted || is_plain_word(item.text));
  });
}

// What stands behind a key or a dash: " 1\n", or lines with `indent` blanks before them.
std::string block(const YamlNode& node, size_t indent) {
  const std::string margin(indent, ' ');
  if (node.kind == YamlNode::Kind::null) return " ~\n";
  if (node.is_scalar()) return " " + scalar(node) + "\n";
  if (node.is_map() && node.entries.empty()) return " {}\n";
  if (node.is_list() && fits_one_line(node)) {
    std::vector<std::string> parts;
    for (const YamlNode& item : node.items) parts.push_back(scalar(item));
    return fmt::format(" [{}]\n", fmt::join(parts, ", "));
  }
  std::string out = "\n";
  for (const YamlNode& item : node.items) {
    const std::string below = block(item, indent + 2);
    // The first line of a map or list stands behind the dash.
    out += margin + "-" + (below[0] == '\n' ? " " + below.substr(indent + 3) : below);
  }
  for (const YamlEntry& entry : node.entries) {
    out += margin + (is_plain_word(entry.key) ? entry.key : in_quotes(entry.key)) + ":" +
           block(entry.value, indent + 2);
  }
  return out;
}

}  // namespace

std::string to_yaml(const YamlNode& node) { return block(node, 0); }

ConfigDocument read_document(const std::string& path, std::span<const std::string> overrides) {
  ConfigDocument document{
      .path = path, .text = read_yaml_text(path), .root = {}, .diagnostics = {}};
  document.root = parse_yaml({.name = path, .text = document.text}, document.diagnostics);
  const bool extends = document.root.find("extends") != nullptr;
  Extender(path, document.diagnostics).resolve(document.root);
  for (const std::string& argument : overrides) {
    Override(document.root, argument, document.diagnostics).apply();
  }
  if (extends || !overrides.empty()) {
    std::string text = fmt::format("# {} with all that it extends", printable(path));
    for (const std::string& argument : overrides) text += fmt::format(", {}", printable(argument));
    document.text =
        text + ";\n# a path is relative to the file that it stands in" + to_yaml(document.root);
  }
  return document;
}

}  // namespace longattn
