#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longattn {

/// Range of a number in a config, inclusive.
struct Bounds {
  double least, most;
};

enum class KeyType {
  integer,
  integers,  ///< a list of distinct ones, or one alone
  number,
  boolean,
  text,
  choice,
  path,      ///< relative to the file that names it
  duration,  ///< 50us, 20ms, 60s, 2m, 8h
  size,      ///< 512MiB, 8GiB, 2GB
  map,       ///< a section of its own
  list,
};

/// Units of durations and sizes: seconds and bytes.
inline constexpr std::array<std::pair<std::string_view, double>, 5> kTimeUnits = {
    {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}}};
inline constexpr std::array<std::pair<std::string_view, double>, 6> kSizeUnits = {
    {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}}};

/// One key of a config.
struct Key {
  std::string name;
  KeyType type = KeyType::integer;
  std::string doc;  ///< one sentence, with the unit
  Bounds bounds{0, 0};
  std::string value{};  ///< how messages name one value; empty: by the key's name
  std::vector<std::string> choices{};
  std::string fallback{};  ///< what holds where the key is left out, as a config says it

  const std::string& called() const { return value.empty() ? name : value; }
};

/// The keys of one map in a config: the single source for reading, for messages and for the JSON
/// Schema.
struct Section {
  std::string name;  ///< as messages name it: "problem", "an input"
  std::vector<Key> keys;
  bool sweeps = false;  ///< also takes `sweep` and `zip`

  const Key& key(std::string_view name) const;
  std::vector<std::string> names() const;
};

const Section& config_keys();
const Section& input_keys();  ///< with a map for each generator of inputs
const Section& problem_keys();
const Section& measure_keys();
const Section& limits_keys();
const Section& cluster_keys();

/// Characters of `name`, which names a folder, and the most of them.
inline constexpr std::string_view kNameCharacters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
inline constexpr size_t kLongestName = 64;

}  // namespace longattn
