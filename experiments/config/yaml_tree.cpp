#include "experiments/config/yaml_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
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

// Where a file is wrong as a whole: the error is told alone.
class Refusal {
 public:
  Refusal(const std::string& path, const std::vector<std::string>& lines)
      : path_(path), lines_(lines) {}

  [[noreturn]] void operator()(Position position, std::string message, std::string hint = "",
                               std::vector<std::string> notes = {}) const {
    Diagnostics diagnostics(path_, lines_);
    diagnostics.add({position, 1, std::move(message), std::move(hint), std::move(notes)});
    throw ConfigError(diagnostics.render());
  }
  // yaml-cpp counts from 0, and columns in bytes.
  Position position(const YAML::Mark& mark) const {
    if (mark.is_null() || mark.line < 0) return {};
    const auto line = static_cast<size_t>(mark.line);
    if (line >= lines_.size()) return end();
    const auto column = static_cast<size_t>(std::max(0, mark.column));
    return {
        mark.line + 1,
        static_cast<int>(count_characters(std::string_view(lines_[line]).substr(0, column)) + 1)};
  }
  Position end() const {
    if (lines_.empty()) return {};
    return {static_cast<int>(lines_.size()), static_cast<int>(count_characters(lines_.back()) + 1)};
  }
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  const std::string& path_;
  const std::vector<std::string>& lines_;
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
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    value(mark, {.kind = YamlNode::Kind::null});
  }
  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    refuse_(refuse_.position(mark), fmt::format("anchor '&{}'", printable(name)), "not taken here",
            {"anchors and aliases are refused; write the value out at each place"});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse_(refuse_.position(mark), "an alias ('*name')", "not taken here",
            {"anchors and aliases are refused; write the value out at each place",
             "text that starts with * or & needs quotes"});
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& text) override {
    check_tag(mark, tag);
    const bool quoted = tag == "!" && starts_quoted(mark);
    if (tag == "!" && !quoted) refuse_tag(mark, tag);
    if (quoted && !is_closed(mark)) {
      refuse_(refuse_.position(mark), "a quote that is never closed");
    }
    // As in the YAML core schema, a plain ~ or null is nothing.
    if (!quoted && (text.empty() || text == "~" || text == "null")) return OnNull(mark, 0);
    value(mark, {.kind = YamlNode::Kind::scalar, .text = text, .quoted = quoted});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    check_tag(mark, tag);
    open(mark, YamlNode::Kind::list);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    check_tag(mark, tag);
    open(mark, YamlNode::Kind::map);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Open {
    YamlNode* node;
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

  void open(const YAML::Mark& mark, YamlNode::Kind kind) {
    if (static_cast<int>(open_.size()) >= kYamlMaxDepth) {
      const Position at = refuse_.position(mark);
      refuse_(at, fmt::format("nested deeper than {} at {}:{}", kYamlMaxDepth, at.line, at.column));
    }
    YamlNode* node = value(mark, {.kind = kind});
    open_.push_back({node});
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

  // yaml-cpp takes a long run of opening brackets for keys of maps: it is told as what it is.
  void refuse_deep_brackets() const {
    int depth = 0;
    for (size_t line = 0; line < refuse_.lines().size(); ++line) {
      const std::string& text = refuse_.lines()[line];
      for (size_t column = 0; column < text.size(); ++column) {
        if (text[column] == '[' || text[column] == '{') ++depth;
        if (text[column] == ']' || text[column] == '}') --depth;
        if (depth <= kYamlMaxDepth) continue;
        const Position at{static_cast<int>(line + 1), static_cast<int>(column + 1)};
        refuse_(at,
                fmt::format("nested deeper than {} at {}:{}", kYamlMaxDepth, at.line, at.column));
      }
    }
  }

  void add_key(Open& parent, const YamlNode& key) {
    if (!key.is_scalar()) {
      refuse_deep_brackets();
      refuse_(key.position, fmt::format("{} stands as a key", describe(key)), "keys are words");
    }
    if (key.text == "<<" && !key.quoted) {
      refuse_(key.position, "merge key '<<'", "not taken here",
              {"merge keys are refused; write the keys out"});
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

void check_characters(const std::string& raw, const std::string& text, const Refusal& refuse) {
  if (const Index offset = find_invalid_utf8(raw); offset >= 0) {
    const bool utf16 = raw.starts_with("\xff\xfe") || raw.starts_with("\xfe\xff");
    refuse({}, fmt::format("not UTF-8 at byte {}", static_cast<size_t>(offset)),
           utf16 ? "this looks like UTF-16; save the file as UTF-8" : "");
  }
  int line = 1, column = 1;
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

class File {
 public:
  explicit File(const std::string& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ < 0) fail("cannot be opened");
  }
  ~File() { ::close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  std::string read() {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail("cannot be examined");
    if (S_ISDIR(status.st_mode)) throw IoError(name() + ": is a folder, expected a YAML file");
    if (!S_ISREG(status.st_mode)) throw IoError(name() + ": is not a regular file");
    if (static_cast<size_t>(status.st_size) > kYamlMaxBytes) too_large(status.st_size);
    std::string text;
    char buffer[1 << 16];
    for (;;) {
      const ssize_t got = ::read(descriptor_, buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("cannot be read");
      if (got == 0) return text;
      text.append(buffer, static_cast<size_t>(got));
      if (text.size() > kYamlMaxBytes) too_large(static_cast<long long>(text.size()));  // it grows
    }
  }

 private:
  std::string name() const { return printable(path_); }
  [[noreturn]] void fail(const char* what) const {
    throw IoError(fmt::format("{}: {}: {}", name(), what, std::strerror(errno)));
  }
  [[noreturn]] void too_large(long long size) const {
    throw ConfigError(
        fmt::format("error: {}: {} bytes, a config has at most {}", name(), size, kYamlMaxBytes));
  }
  const std::string& path_;
  int descriptor_;
};

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  const auto found = std::ranges::find(entries, key, &YamlEntry::key);
  return found == entries.end() ? nullptr : &found->value;
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

YamlDocument parse_yaml(std::string text, const std::string& path) {
  const std::string clean = normalised(text);
  const std::vector<std::string> lines = split_lines(clean);
  const Refusal refuse(path, lines);
  check_characters(text, clean, refuse);
  Diagnostics diagnostics(path, lines);
  TreeBuilder builder(refuse, diagnostics);
  parse(clean, builder, refuse, diagnostics);
  return {path, std::move(text), builder.take(), std::move(diagnostics)};
}

YamlDocument read_yaml(const std::string& path) { return parse_yaml(File(path).read(), path); }

}  // namespace longattn
