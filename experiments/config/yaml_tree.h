#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/config/diagnostics.h"

namespace longattn {

struct YamlEntry;

/// One value of a YAML file, with its place. Scalars stay text: what `010` or `yes` means is for
/// the reader of the key to say.
struct YamlNode {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  std::string text{};   ///< of a scalar
  bool quoted = false;  ///< the scalar stands in quotes, or is a block (`|`, `>`)
  Position position{};
  std::vector<YamlNode> items{};   ///< of a list
  std::vector<YamlEntry> entries;  ///< of a map, in the order of the file, keys distinct

  /// The value of a key, or nullptr.
  const YamlNode* find(std::string_view key) const;
  const YamlEntry* entry(std::string_view key) const;
  /// Characters that a caret below this value underlines.
  size_t width() const;
  size_t count() const;  ///< nodes, this one and all below
  int height() const;    ///< lists and maps, from this one down
  bool is_scalar() const { return kind == Kind::scalar; }
  bool is_list() const { return kind == Kind::list; }
  bool is_map() const { return kind == Kind::map; }
};

/// A key with its value.
struct YamlEntry {
  std::string key;
  Position position;  ///< of the key
  YamlNode value;
};

/// What one found, for messages: "a list", "the text 'yes'", "nothing".
std::string describe(const YamlNode& node);

/// Largest file, deepest nesting, most events, and most values that anchors and aliases stand for.
inline constexpr size_t kYamlMaxBytes = size_t{1} << 20;
inline constexpr int kYamlMaxDepth = 32;
inline constexpr int kYamlMaxEvents = 200'000;
inline constexpr size_t kYamlMaxCopies = 10'000;

/// What is parsed.
struct YamlText {
  std::string name;        ///< the path of a file, or the option of an argument
  std::string text;        ///< YAML
  std::string argument{};  ///< what stands before the text in an argument: "problem.lengths="
};

/// Reads one YAML document and adds its text to the sources of `diagnostics`. Byte order mark and
/// Windows line ends are accepted. An alias is a copy of what its anchor names, and keeps its
/// place. Refused with a position: what is not UTF-8 or holds control characters, syntax errors,
/// tags (a config never runs code), merge keys, an alias within its anchor, a second document, and
/// what is beyond the limits above. Of two equal keys in a map the first is kept and a diagnostic
/// is left. Throws ConfigError.
YamlNode parse_yaml(const YamlText& text, Diagnostics& diagnostics);

/// The bytes of a config file. Only regular files are read: a FIFO, folder or device is an IoError
/// at once, as is what cannot be read. Throws ConfigError for a file that is too large.
std::string read_yaml_text(const std::string& path);

}  // namespace longattn
