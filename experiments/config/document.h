#pragma once

#include <span>
#include <string>

#include "experiments/config/yaml_tree.h"

namespace longattn {

/// Most files that extend each other.
inline constexpr size_t kLongestChain = 16;

/// A config as one tree: its file, the files that it extends, and what the command line sets.
struct ConfigDocument {
  std::string path;  ///< of its file, as given
  std::string text;  ///< the file's bytes; a YAML text of the whole tree when it is made of more
  YamlNode root;
  Diagnostics diagnostics;  ///< mistakes found so far, to be told with all that a reader finds
};

/// Reads a config.
///
/// `extends: other.yaml` at the top of a file names another one, relative to it: maps merge, lists
/// and values replace, a key with nothing (~) takes the other's key away, and what is said of a key
/// replaces what the other says of it alone, in `sweep` or in `zip`. Each of `overrides`,
/// `problem.lengths=[16, 32]`, puts a YAML value at a path: keys of maps, indices of lists from 0,
/// a variant also by its name. Every node keeps its place in its own file or argument.
///
/// Becomes a diagnostic: extends of a file that cannot be read, in a circle, or through more than
/// kLongestChain files; a path that leads nowhere. Throws like read_yaml_text and parse_yaml.
ConfigDocument read_document(const std::string& path, std::span<const std::string> overrides);

/// The tree as YAML that reads back to it.
std::string to_yaml(const YamlNode& node);

}  // namespace longattn
