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
  std::vector<YamlNode> items{};     ///< of a list
  std::vector<YamlEntry> entries{};  ///< of a map, in the order of the file, keys distinct

  /// The value of a key, or nullptr.
  const YamlNode* find(std::string_view key) const;
  /// Characters that a caret below this value underlines.
  size_t width() const;
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

/// A YAML file as a tree.
struct YamlDocument {
  std::string path;  ///< as given
  std::string text;  ///< the bytes of the file
  YamlNode root;
  Diagnostics diagnostics;  ///< duplicate keys, to be told with all that a reader finds
};

/// Largest file, deepest nesting and most events that are read.
inline constexpr size_t kYamlMaxBytes = size_t{1} << 20;
inline constexpr int kYamlMaxDepth = 32;
inline constexpr int kYamlMaxEvents = 200'000;

/// Reads one YAML document. Byte order mark and Windows line ends are accepted. Refused with a
/// position: what is not UTF-8 or holds control characters, syntax errors, tags (a config never
/// runs code), anchors, aliases, merge keys, a second document, and files beyond the limits above.
/// Of two equal keys in a map the first is kept and a diagnostic is left. Throws ConfigError;
/// IoError when the file cannot be read. Only regular files are opened for reading: a FIFO, folder
/// or device is an IoError at once.
YamlDocument read_yaml(const std::string& path);

/// The same for text in memory; `path` is for messages.
YamlDocument parse_yaml(std::string text, const std::string& path);

}  // namespace longattn
