#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/types.h"
#include "experiments/config/yaml_tree.h"

namespace longattn {

/// Range of a number in a config, inclusive.
struct Bounds {
  double least, most;
};

/// Reads typed values out of a tree and leaves a diagnostic for whatever does not fit. Readers
/// return nothing then, so that a caller keeps its default and the other mistakes are found too.
class ConfigReader {
 public:
  explicit ConfigReader(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}

  /// An error at a value (or at a key), with an optional hint and note.
  void error(const YamlNode& at, std::string message, std::string hint = "",
             std::vector<std::string> notes = {});
  /// The file that a value names has the wrong content, the config being right.
  void data_error(const YamlNode& at, std::string message);
  void error_at_key(const YamlEntry& at, std::string message, std::string hint = "",
                    std::vector<std::string> notes = {});

  /// Reports every key of a map that is not in `known`, with the closest one that is. False, with
  /// an error, when the node is not a map.
  bool check_keys(const YamlNode& map, std::string_view what,
                  const std::vector<std::string>& known);

  // Scalars. `what` names the value in messages: "rounds".
  std::optional<Index> integer(const YamlNode& node, std::string_view what, Bounds bounds);
  std::optional<double> number(const YamlNode& node, std::string_view what, Bounds bounds);
  std::optional<bool> boolean(const YamlNode& node, std::string_view what);
  std::optional<std::string> text(const YamlNode& node, std::string_view what);
  /// 20ms, 60s, 2m: seconds.
  std::optional<double> duration(const YamlNode& node, std::string_view what);
  /// 512MiB, 8GiB, 2GB: bytes.
  std::optional<double> size(const YamlNode& node, std::string_view what);
  /// A list of integers, or one alone.
  std::vector<std::pair<Index, const YamlNode*>> integers(const YamlNode& node,
                                                          std::string_view what, Bounds bounds);

 private:
  void expected(const YamlNode& node, std::string_view what, std::string_view expectation);
  std::optional<double> with_unit(const YamlNode& node,
                                  std::span<const std::pair<std::string_view, double>> units);

  Diagnostics& diagnostics_;
};

}  // namespace longattn
