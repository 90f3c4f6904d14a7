#include "experiments/config/settings.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/io/text.h"

namespace longattn {
namespace {

// Keys that change together, and the values that they take.
struct Axis {
  std::string where;  // "alone", "in sweep" or "in zip"
  std::vector<const YamlEntry*> keys;
  std::vector<std::vector<const YamlNode*>> rows;  // each as long as keys
};

class SettingsReader {
 public:
  SettingsReader(std::string_view what, std::vector<std::string> known, ConfigReader& reader)
      : what_(what), known_(std::move(known)), reader_(reader) {}

  std::vector<Setting> read(const YamlNode& map, Index most) {
    std::vector<std::string> all = known_;
    all.insert(all.end(), {"sweep", "zip"});
    if (!reader_.check_keys(map, what_, all)) return {};
    const YamlEntry* lists = nullptr;  // where to tell that they are too many
    for (const YamlEntry& entry : map.entries) {
      if (entry.key == "sweep") {
        lists = &entry;
        read_sweep(entry.value);
      } else if (entry.key == "zip") {
        lists = &entry;
        read_zip(entry.value);
      } else {
        add({"alone", {&entry}, {{&entry.value}}});
      }
    }
    double count = 1;
    for (const Axis& axis : axes_) count *= static_cast<double>(axis.rows.size());
    if (lists != nullptr && count > static_cast<double>(most)) {
      reader_.error_at_key(*lists, fmt::format("{} has {:.6g} settings; limits.max_cells is {}",
                                               what_, count, most));
      return {};
    }
    return product(static_cast<size_t>(count));
  }

 private:
  // The values of a key in `sweep` or `zip`.
  std::vector<const YamlNode*> list_of(const YamlEntry& entry, std::string_view of) {
    std::vector<const YamlNode*> values;
    if (!is_known(entry)) return values;  // told by check_keys
    for (const YamlNode& item : entry.value.items) values.push_back(&item);
    if (values.empty()) {
      reader_.error(entry.value, fmt::format("'{}' in {} is {}, expected a list of values",
                                             entry.key, of, describe(entry.value)));
    }
    return values;
  }

  void read_sweep(const YamlNode& map) {
    if (!reader_.check_keys(map, "sweep", known_)) return;
    for (const YamlEntry& entry : map.entries) {
      Axis axis{"in sweep", {&entry}, {}};
      for (const YamlNode* value : list_of(entry, "sweep")) axis.rows.push_back({value});
      if (!axis.rows.empty()) add(std::move(axis));
    }
  }

  void read_zip(const YamlNode& map) {
    if (!reader_.check_keys(map, "zip", known_)) return;
    Axis axis{"in zip", {}, {}};
    for (const YamlEntry& entry : map.entries) {
      const std::vector<const YamlNode*> values = list_of(entry, "zip");
      if (values.empty()) continue;
      if (axis.keys.empty()) axis.rows.resize(values.size());
      if (values.size() != axis.rows.size()) {
        const YamlEntry& first = *axis.keys.front();
        reader_.error(
            entry.value,
            fmt::format("'{}' in zip has {} value{}, '{}' has {}", entry.key, values.size(),
                        values.size() == 1 ? "" : "s", first.key, axis.rows.size()),
            "", {"zip takes the first of each list, then the second, and so on"});
        continue;
      }
      axis.keys.push_back(&entry);
      for (size_t n = 0; n < values.size(); ++n) axis.rows[n].push_back(values[n]);
    }
    if (!axis.keys.empty()) add(std::move(axis));
  }

  bool is_known(const YamlEntry& entry) const {
    return std::ranges::find(known_, entry.key) != known_.end();
  }

  void add(Axis axis) {
    for (const YamlEntry* key : axis.keys) {
      if (!is_known(*key)) return;
      for (const Axis& other : axes_) {
        const auto same = std::ranges::find(other.keys, key->key, &YamlEntry::key);
        if (same == other.keys.end()) continue;
        reader_.error_at_key(
            *key, fmt::format("'{}' is given twice, {} and {}", key->key, other.where, axis.where));
        return;
      }
    }
    axes_.push_back(std::move(axis));
  }

  std::vector<Setting> product(size_t count) const {
    std::vector<Setting> settings(count);
    for (size_t n = 0; n < count; ++n) {
      size_t rest = n;
      std::vector<size_t> chosen(axes_.size());
      for (size_t a = axes_.size(); a-- > 0; rest /= axes_[a].rows.size()) {
        chosen[a] = rest % axes_[a].rows.size();
      }
      for (size_t a = 0; a < axes_.size(); ++a) {
        const Axis& axis = axes_[a];
        for (size_t k = 0; k < axis.keys.size(); ++k) {
          settings[n].values.push_back(
              {axis.keys[k], axis.rows[chosen[a]][k], axis.rows.size() > 1});
        }
      }
    }
    return settings;
  }

  const std::string what_;
  const std::vector<std::string> known_;
  ConfigReader& reader_;
  std::vector<Axis> axes_;
};

}  // namespace

const YamlNode* Setting::find(std::string_view key) const {
  const auto found =
      std::ranges::find_if(values, [&](const Value& value) { return value.key->key == key; });
  return found == values.end() ? nullptr : found->value;
}

std::vector<Setting> read_settings(const YamlNode& map, std::string_view what,
                                   std::vector<std::string> known, Index most,
                                   ConfigReader& reader) {
  return SettingsReader(what, std::move(known), reader).read(map, most);
}

}  // namespace longattn
