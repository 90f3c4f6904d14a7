#include "experiments/config/experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "core/io/text.h"
#include "experiments/config/clusters.h"
#include "experiments/config/document.h"
#include "experiments/config/problems.h"
#include "experiments/config/reader.h"
#include "experiments/config/variants.h"
#include "experiments/config/where.h"

namespace longattn {
namespace {

class ExperimentReader {
 public:
  ExperimentReader(ConfigDocument& document, std::span<const Variant* const> variants)
      : root_(document.root), variants_(variants), reader_(document.diagnostics) {
    experiment_.path = document.path;
    experiment_.text = document.text;
  }

  Experiment read() {
    if (!reader_.check_keys(root_, config_keys().name, config_keys().names())) return experiment_;
    for (const char* key : {"longattn", "name", "inputs", "variants"}) {
      if (root_.find(key) == nullptr) reader_.error(root_, fmt::format("'{}' is missing", key));
    }
    if (const YamlEntry* entry = root_.entry("extends")) {
      reader_.error_at_key(*entry, "extends stands in a file, and is followed before --set");
    }
    read_header();
    read_measure();
    read_limits();
    const Index most = experiment_.limits.max_cells;
    experiment_.problems = read_problems(root_, most, reader_);
    if (const YamlNode* node = root_.find("variants")) {
      experiment_.variants = read_variants(*node, variants_, most, reader_);
    }
    if (const YamlNode* node = root_.find("clusters")) {
      experiment_.clusters = read_clusters(*node, reader_);
    }
    if (number_of_cells_fits()) {
      experiment_.cells = read_cells(root_.find("where"), experiment_, variants_, reader_);
    }
    return experiment_;
  }

 private:
  void read_header() {
    const Section& keys = config_keys();
    if (const YamlNode* node = root_.find("longattn")) {
      reader_.integer(*node, keys.key("longattn"));
    }
    if (const YamlNode* node = root_.find("name")) {
      if (const auto name = reader_.text(*node, keys.key("name"))) {
        const bool plain = name->size() <= kLongestName && name->front() != '.' &&
                           name->find_first_not_of(kNameCharacters) == std::string::npos;
        if (!plain) {
          reader_.error(*node, fmt::format("name is '{}', expected at most {} letters, digits and "
                                           "_ . -, because it names a folder",
                                           printable(name->substr(0, 80)), kLongestName));
        }
        experiment_.name = *name;
      }
    }
    if (const YamlNode* node = root_.find("description")) {
      experiment_.description = reader_.text(*node, keys.key("description")).value_or("");
    }
    if (const YamlNode* node = root_.find("launcher")) {
      experiment_.launcher =
          reader_.text(*node, keys.key("launcher")).value_or(experiment_.launcher);
      if (experiment_.launcher.find("{ranks}") == std::string::npos) {
        reader_.error(*node, fmt::format("launcher is '{}', expected {{ranks}} in it, where the "
                                         "number of processes belongs",
                                         printable(experiment_.launcher)));
      }
    }
    if (const YamlNode* node = root_.find("seed")) {
      const auto seed = reader_.integer(*node, keys.key("seed"));
      experiment_.seed = static_cast<std::uint64_t>(seed.value_or(1));
    }
    if (const YamlNode* node = root_.find("threads")) {
      for (const auto& [count, at] : reader_.integers(*node, keys.key("threads"))) {
        experiment_.threads.push_back(static_cast<int>(count));
      }
    } else {
      experiment_.threads = {static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u))};
    }
  }

  // The map of a section, or nullptr.
  const YamlNode* section(const char* name, const Section& keys) {
    const YamlNode* map = root_.find(name);
    return map != nullptr && reader_.check_keys(*map, keys.name, keys.names()) ? map : nullptr;
  }

  void read_measure() {
    const Section& keys = measure_keys();
    const YamlNode* map = section("measure", keys);
    if (map == nullptr) return;
    Measure& m = experiment_.measure;
    for (const auto& [key, count] : {std::pair<const char*, Index*>{"rounds", &m.rounds},
                                     {"error_rows", &m.error_rows},
                                     {"seeds", &m.seeds}}) {
      if (const YamlNode* n = map->find(key)) {
        *count = reader_.integer(*n, keys.key(key)).value_or(*count);
      }
    }
    if (const YamlNode* n = map->find("min_time")) {
      m.min_time_s = reader_.duration(*n, keys.key("min_time")).value_or(m.min_time_s);
    }
    if (const YamlNode* n = map->find("max_time")) {
      m.max_time_s = reader_.duration(*n, keys.key("max_time")).value_or(m.max_time_s);
    }
    if (const YamlNode* n = map->find("error_budget")) {
      m.error_budget = reader_.number(*n, keys.key("error_budget")).value_or(m.error_budget);
    }
    for (const auto& [key, flag] : {std::pair<const char*, bool*>{"time", &m.time},
                                    {"memory", &m.memory},
                                    {"error", &m.error},
                                    {"patterns", &m.patterns}}) {
      if (const YamlNode* n = map->find(key)) {
        *flag = reader_.boolean(*n, keys.key(key)).value_or(*flag);
      }
    }
  }

  void read_limits() {
    const Section& keys = limits_keys();
    const YamlNode* map = section("limits", keys);
    if (map == nullptr) return;
    Limits& limits = experiment_.limits;
    if (const YamlNode* n = map->find("time")) {
      limits.time_s = reader_.duration(*n, keys.key("time")).value_or(limits.time_s);
    }
    if (const YamlNode* n = map->find("memory")) {
      limits.memory_bytes = reader_.size(*n, keys.key("memory")).value_or(limits.memory_bytes);
    }
    if (const YamlNode* n = map->find("patience")) {
      limits.patience_s = reader_.duration(*n, keys.key("patience")).value_or(limits.patience_s);
    }
    if (const YamlNode* n = map->find("max_cells")) {
      limits.max_cells = reader_.integer(*n, keys.key("max_cells")).value_or(limits.max_cells);
    }
  }

  bool number_of_cells_fits() {
    const double cells = static_cast<double>(experiment_.problems.size()) *
                         static_cast<double>(experiment_.variants.size()) *
                         static_cast<double>(experiment_.threads.size());
    if (cells <= static_cast<double>(experiment_.limits.max_cells)) return true;
    reader_.error(root_,
                  fmt::format("{:.0f} cells ({} inputs x shapes x lengths, {} variants, {} thread "
                              "counts), limits.max_cells is {}",
                              cells, experiment_.problems.size(), experiment_.variants.size(),
                              experiment_.threads.size(), experiment_.limits.max_cells));
    return false;
  }

  const YamlNode& root_;
  const std::span<const Variant* const> variants_;
  ConfigReader reader_;
  Experiment experiment_;
};

}  // namespace

Cluster ClusterRequest::of(int count) const {
  Cluster made = cluster;
  if (slow_ranks == 0) return made;
  made.slowness.assign(static_cast<size_t>(count), 1.0);
  for (int n = 0; n < slow_ranks; ++n) {
    made.slowness[static_cast<size_t>(Index{n} * count / slow_ranks)] = slow_factor;
  }
  return made;
}

Experiment read_experiment(const std::string& path, std::span<const Variant* const> variants,
                           std::span<const std::string> overrides) {
  ConfigDocument document = read_document(path, overrides);
  Experiment experiment = ExperimentReader(document, variants).read();
  document.diagnostics.throw_if_any();
  return experiment;
}

}  // namespace longattn
