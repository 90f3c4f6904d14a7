#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/options.h"
#include "experiments/config/keys.h"
#include "experiments/config/yaml_tree.h"

namespace longattn {

/// Reads typed values out of a tree and leaves a diagnostic for whatever does not fit. Readers
/// return nothing then, so that a caller keeps its default and the other mistakes are found too.
class ConfigReader {
 public:
  explicit ConfigReader(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}

  bool clean() const { return diagnostics_.empty(); }

  /// An error at a value (or at a key), with an optional hint and note.
  void error(const YamlNode& at, std::string message, std::string hint = "",
             std::vector<std::string> notes = {});
  void error_at_key(const YamlEntry& at, std::string message, std::string hint = "",
                    std::vector<std::string> notes = {});
  /// An error at some characters of a text, counted in bytes.
  void error_within(const YamlNode& text, size_t offset, size_t width, std::string message,
                    std::string hint = "", std::vector<std::string> notes = {});
  /// The file that a value names has the wrong content, the config being right.
  void data_error(const YamlNode& at, std::string message);

  /// Reports every key of a map that is not in `known`, with the closest one that is. False, with
  /// an error, when the node is not a map.
  bool check_keys(const YamlNode& map, std::string_view what,
                  const std::vector<std::string>& known);

  /// Where a path in this value is looked for: beside the file in which it stands; from the
  /// command line, in the working directory. The path itself when it is absolute.
  std::string resolved(const YamlNode& at, const std::string& path) const;

  // Scalars, within the bounds of their key.
  std::optional<Index> integer(const YamlNode& node, const Key& key);
  std::optional<double> number(const YamlNode& node, const Key& key);
  std::optional<bool> boolean(const YamlNode& node, const Key& key);
  std::optional<std::string> text(const YamlNode& node, const Key& key);  ///< also of a path
  std::optional<std::string> choice(const YamlNode& node, const Key& key);
  std::optional<double> duration(const YamlNode& node, const Key& key);  ///< seconds
  std::optional<double> size(const YamlNode& node, const Key& key);      ///< bytes
  std::vector<std::pair<Index, const YamlNode*>> integers(const YamlNode& node, const Key& key);
  /// The value of an option of a variant or a generator. `may_sweep`: of a list in the wrong place
  /// is told how to try several values.
  std::optional<OptionValue> option(const YamlNode& node, const Option& option, bool may_sweep);

 private:
  std::optional<std::string> option_text(const YamlNode& node, const Option& option);
  void expected(const YamlNode& node, const Key& key, std::string_view expectation);
  std::optional<double> with_unit(const YamlNode& node,
                                  std::span<const std::pair<std::string_view, double>> units);

  Diagnostics& diagnostics_;
};

}  // namespace longattn
