#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiments/config/reader.h"

namespace longattn {

/// One way to fill a map of a config: keys with a value each.
struct Setting {
  struct Value {
    const YamlEntry* key;
    const YamlNode* value;
    bool swept;  ///< one of several, from `sweep` or `zip`
  };
  std::vector<Value> values;

  const YamlNode* find(std::string_view key) const;
};

/// The settings that a map stands for, the last list fastest:
///
///     window: 64                                        # one value
///     sweep: {dilation: [1, 2], global_tokens: [0, 1]}  # every combination: 4 settings
///     zip: {rounds: [2, 4, 8], buckets: [64, 64, 128]}  # the first of each, the second, ...: 3
///
/// which is 12 settings together. Keys are checked against `known`; lists in `zip` must be equally
/// long; more than `most` settings are counted and refused before they are made: then there are
/// none. Other mistakes become diagnostics, and what is wrong is left out.
std::vector<Setting> read_settings(const YamlNode& map, std::string_view what,
                                   std::vector<std::string> known, Index most,
                                   ConfigReader& reader);

}  // namespace longattn
