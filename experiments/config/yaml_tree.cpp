#include "experiments/config/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <deque>
#include <sstream>
#include <unordered_map>

#include "core/io/text.h"

namespace longattn {
namespace {

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

// Without byte order mark, every line end a '\n'.
std::string normalised(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      result += text[i];
    } else if (i + 1 == text.size() || text[i + 1] != '\n') {
      result += '\n';
    }
  }
  return result;
}

// Where a text is wrong as a whole: the error is told alone.
class Refusal {
 public:
  Refusal(const SourceText& text, int source) : text_(text), source_(source) {}

  [[noreturn]] void operator()(Position position, std::string message, std::string hint = "",
                               std::vector<std::string> notes = {}) const {
    Diagnostics diagnostics;
    position.source = diagnostics.add_source(text_);
    diagnostics.add({position, 1, std::move(message), std::move(hint), std::move(notes)});
    throw ConfigError(diagnostics.render());
  }
  // yaml-cpp counts from 0, and columns in bytes.
  Position position(const YAML::Mark& mark) const {
    if (mark.is_null() || mark.line < 0) return {0, 0, source_};
    const auto line = static_cast<size_t>(mark.line);
    if (line >= lines().size()) return end();
    const auto column = static_cast<size_t>(std::max(0, mark.column));
    const std::string_view before = std::string_view(lines()[line]).substr(0, column);
    return {mark.line + 1, static_cast<int>(count_characters(before) + 1), source_};
  }
  Position end() const {
    if (lines().empty()) return {0, 0, source_};
    return {static_cast<int>(lines().size()),
            static_cast<int>(count_characters(lines().back()) + 1), source_};
  }
  const std::vector<std::string>& lines() const { return text_.lines; }

 private:
  const SourceText text_;
  const int source_;
};

// Builds the tree. Parents are addressed through a stack of pointers into it: a node's address is
// stable while it is open, because only the innermost open container grows.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const Refusal& refuse, Diagnostics& diagnostics)
      : refuse_(refuse), diagnostics_(diagnostics) {}

  YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    remember(mark, anchor, value(mark, {.kind = YamlNode::Kind::null, .entries = {}}));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchored_.find(anchor);
    if (found == anchored_.end()) {
      refuse_(refuse_.position(mark), "an alias within what it stands for, a circle");
    }
    const int deep = static_cast<int>(open_.size()) + found->second.height();
    if (deep > kYamlMaxDepth) refuse_depth(refuse_.position(mark));
    spend(mark, found->second);
    YamlNode* node = value(mark, found->second);
    if (node != nullptr) node->position = found->second.position;
  }
  void OnScalar(const YAML::Mark& before, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    const YAML::Mark mark = after_anchor(before);
    check_tag(mark, tag);
    const bool quoted = tag == "!" && starts_quoted(mark);
    if (tag == "!" && !quoted) refuse_tag(mark, tag);
    if (quoted && !is_closed(mark)) {
      refuse_(refuse_.position(mark), "a quote that is never closed");
    }
    // As in the YAML core schema, a plain ~ or null is nothing.
    if (!quoted && (text.empty() || text == "~" || text == "null")) return OnNull(mark, anchor);
    remember(
        mark, anchor,
        value(mark,
              {.kind = YamlNode::Kind::scalar, .text = text, .quoted = quoted, .entries = {}}));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check_tag(mark, tag);
    open(mark, YamlNode::Kind::list, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check_tag(mark, tag);
    open(mark, YamlNode::Kind::map, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode* node;
    YAML::Mark mark;
    YAML::anchor_t anchor;
    bool awaits_value = false;                       // of a map: the key has been read
    bool drop_value = false;                         // of a map: the key was there already
    std::unordered_map<std::string, size_t> keys{};  // of a map: index in entries
  };

  // Yaml-cpp gives '?' to plain scalars and containers, '!' to quoted and block scalars, and also
  // '!' to what carries the bare tag '!'.
  void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") refuse_tag(mark, tag);
  }
  bool starts_quoted(const YAML::Mark& mark) const {
    const auto& lines = refuse_.lines();
    const auto line = static_cast<size_t>(mark.line);
    if (line >= lines.size() || static_cast<size_t>(mark.column) >= lines[line].size()) return true;
    return lines[line][static_cast<size_t>(mark.column)] != '!';
  }
  // Yaml-cpp takes a lone quote at the end of the file for an empty text.
  bool is_closed(const YAML::Mark& mark) const {
    const auto& lines = refuse_.lines();
    const auto line = static_cast<size_t>(mark.line), column = static_cast<size_t>(mark.column);
    if (line >= lines.size() || column >= lines[line].size()) return true;
    const char quote = lines[line][column];
    if (quote != '\'' && quote != '"') return true;  // a block scalar
    if (lines[line].find(quote, column + 1) != std::string::npos) return true;
    return std::any_of(lines.begin() + mark.line + 1, lines.end(), [&](const std::string& later) {
      return later.find(quote) != std::string::npos;
    });
  }
  [[noreturn]] void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    refuse_(refuse_.position(mark), fmt::format("tag '{}'", printable(tag)), "not taken here",
            {"tags are refused: a config is data and never runs code",
             "text that starts with ! needs quotes"});
  }

  void count(const YAML::Mark& mark) {
    if (++events_ > kYamlMaxEvents) {
      refuse_(refuse_.position(mark), fmt::format("more than {} values", kYamlMaxEvents));
    }
  }

  [[noreturn]] void refuse_depth(Position at) const {
    refuse_(at, fmt::format("nested deeper than {} at {}:{}", kYamlMaxDepth, at.line, at.column));
  }

  void open(const YAML::Mark& mark, YamlNode::Kind kind, YAML::anchor_t anchor) {
    if (static_cast<int>(open_.size()) >= kYamlMaxDepth) refuse_depth(refuse_.position(mark));
    YamlNode* node = value(mark, {.kind = kind, .entries = {}});
    open_.push_back({node, mark, anchor});
  }
  void close() {
    const Open closed = std::move(open_.back());
    open_.pop_back();
    remember(closed.mark, closed.anchor, closed.node);
  }

  // Aliases are copies: a few of them can stand for more nodes than any memory holds.
  void spend(const YAML::Mark& mark, const YamlNode& node) {
    copied_ += node.count();
    if (copied_ <= kYamlMaxCopies) return;
    refuse_(refuse_.position(mark),
            fmt::format("anchors and aliases stand for more than {} values", kYamlMaxCopies));
  }
  void remember(const YAML::Mark& mark, YAML::anchor_t anchor, const YamlNode* node) {
    if (anchor == 0 || node == nullptr) return;
    spend(mark, *node);
    anchored_[anchor] = *node;
  }
  // The mark of a node with an anchor is the anchor's; what it names stands behind, mostly.
  YAML::Mark after_anchor(YAML::Mark mark) const {
    const auto& lines = refuse_.lines();
    const auto line = static_cast<size_t>(mark.line), column = static_cast<size_t>(mark.column);
    if (line >= lines.size() || column >= lines[line].size() || lines[line][column] != '&') {
      return mark;
    }
    const size_t space = lines[line].find_first_of(" \t", column);
    const size_t content = lines[line].find_first_not_of(" \t", space);
    if (space == std::string::npos || content == std::string::npos) return mark;
    mark.column = static_cast<int>(content);
    return mark;
  }

  // Puts the node where the next one belongs, as a key or as a value.
  YamlNode* value(const YAML::Mark& mark, YamlNode node) {
    count(mark);
    node.position = refuse_.position(mark);
    if (open_.empty()) {
      root_ = std::move(node);
      return &root_;
    }
    Open& parent = open_.back();
    if (parent.node->is_list()) return &parent.node->items.emplace_back(std::move(node));
    if (!parent.awaits_value) {
      add_key(parent, node);
      return nullptr;
    }
    parent.awaits_value = false;
    if (parent.drop_value) return &dropped_.emplace_back(std::move(node));
    YamlNode& target = parent.node->entries.back().value;
    target = std::move(node);
    return &target;
  }

  // yaml-cpp takes a long run of opening brackets, and one that is never closed, for keys of maps:
  // they are told as what they are.
  void refuse_brackets() const {
    std::vector<Position> unclosed;
    for (size_t line = 0; line < refuse_.lines().size(); ++line) {
      const std::string& text = refuse_.lines()[line];
      for (size_t column = 0; column < text.size(); ++column) {
        if ((text[column] == ']' || text[column] == '}') && !unclosed.empty()) unclosed.pop_back();
        if (text[column] != '[' && text[column] != '{') continue;
        unclosed.push_back({static_cast<int>(line + 1), static_cast<int>(column + 1)});
        if (unclosed.size() > kYamlMaxDepth) refuse_depth(unclosed.back());
      }
    }
    if (!unclosed.empty()) refuse_(unclosed.back(), "a bracket that is never closed");
  }

  void add_key(Open& parent, const YamlNode& key) {
    if (!key.is_scalar()) {
      refuse_brackets();
      refuse_(key.position, fmt::format("{} stands as a key", describe(key)), "keys are words");
    }
    if (key.text == "<<" && !key.quoted) {
      refuse_(key.position, "merge key '<<'", "not taken here",
              {"merge keys are refused; to build on another file, write extends: other.yaml"});
    }
    parent.awaits_value = true;
    const auto [found, added] = parent.keys.emplace(key.text, parent.node->entries.size());
    parent.drop_value = !added;
    if (added) {
      parent.node->entries.push_back({key.text, key.position, {}});
      return;
    }
    const YamlEntry& first = parent.node->entries[found->second];
    diagnostics_.add({key.position,
                      key.width(),
                      fmt::format("duplicate key '{}'", printable(key.text)),
                      fmt::format("first at {}", diagnostics_.place(first.position)),
                      {}});
  }

  const Refusal& refuse_;
  Diagnostics& diagnostics_;
  YamlNode root_;
  std::deque<YamlNode>
      dropped_;  // values of duplicate keys: read, so that their own keys are checked
  std::vector<Open> open_;
  std::unordered_map<YAML::anchor_t, YamlNode> anchored_;  // what is complete
  size_t copied_ = 0;                                      // nodes in there and in aliases
  int events_ = 0;
};

// What yaml-cpp says, in words that help whoever wrote the file.
std::string syntax_message(const YAML::ParserException& error, std::string_view line) {
  const std::string_view indent = line.substr(0, line.find_first_not_of(" \t"));
  if (indent.find('\t') != std::string_view::npos) {
    return "this line is indented with a tab; YAML indents with spaces";
  }
  return fmt::format("not valid YAML: {}", printable(error.msg));
}

void check_characters(std::string_view raw, const std::string& text, int column,
                      const Refusal& refuse) {
  if (const Index offset = find_invalid_utf8(raw); offset >= 0) {
    const bool utf16 = raw.starts_with("\xff\xfe") || raw.starts_with("\xfe\xff");
    refuse({}, fmt::format("not UTF-8 at byte {}", static_cast<size_t>(offset)),
           utf16 ? "this looks like UTF-16; save the file as UTF-8" : "");
  }
  int line = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // Yaml-cpp takes byte 4 for the end of the file, and would drop the rest in silence.
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
      refuse({line, column}, fmt::format("control character \\x{:02x} in the file", byte));
    }
    if (byte == '\n') ++line;
    column = byte == '\n' ? 1 : column + ((byte & 0xc0) != 0x80);
  }
}

void parse(const std::string& text, TreeBuilder& builder, const Refusal& refuse,
           Diagnostics& diagnostics) {
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return;
    // The second call must find nothing: yaml-cpp stops without a word at a `---` and at text that
    // does not belong to the document.
    TreeBuilder rest(refuse, diagnostics);
    if (parser.HandleNextDocument(rest)) {
      const YamlNode more = rest.take();
      refuse(more.position, "text after the end of the config", "one file holds one document");
    }
  } catch (const YAML::ParserException& error) {
    Position at = refuse.position(error.mark);
    const auto& lines = refuse.lines();
    const bool known = at.line > 0 && at.line <= static_cast<int>(lines.size());
    refuse(at, syntax_message(error, known ? lines[static_cast<size_t>(at.line - 1)] : ""));
  } catch (const YAML::Exception& error) {
    refuse({}, fmt::format("not valid YAML: {}", printable(error.what())));
  }
}

}  // namespace

YamlNode parse_yaml(const YamlText& text, Diagnostics& diagnostics) {
  const std::string clean = normalised(text.text);
  const SourceText source{text.name, split_lines(text.argument + clean), !text.argument.empty()};
  const Refusal refuse(source, diagnostics.add_source(source));
  const auto before = static_cast<int>(count_characters(text.argument));
  check_characters(text.text, clean, before + 1, refuse);
  TreeBuilder builder(refuse, diagnostics);
  // Blanks in the place of what is not YAML, for the columns.
  parse(std::string(text.argument.size(), ' ') + clean, builder, refuse, diagnostics);
  YamlNode root = builder.take();
  root.position.source = refuse.end().source;  // also of nothing
  return root;
}

}  // namespace longattn
