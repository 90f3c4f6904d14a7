#include "experiments/config/experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "core/io/text.h"
#include "experiments/config/problems.h"
#include "experiments/config/reader.h"
#include "experiments/config/variants.h"

namespace longattn {
namespace {

class ExperimentReader {
 public:
  ExperimentReader(YamlDocument& document, std::span<const Variant* const> variants)
      : root_(document.root), variants_(variants), reader_(document.diagnostics) {
    experiment_.path = document.path;
    experiment_.text = document.text;
  }

  Experiment read() {
    static const std::vector<std::string> kKeys = {"longattn", "name",    "description", "threads",
                                                   "inputs",   "problem", "variants",    "measure",
                                                   "limits",   "seed"};
    if (!reader_.check_keys(root_, "a config", kKeys)) return experiment_;
    for (const char* key : {"longattn", "name", "inputs", "variants"}) {
      if (root_.find(key) == nullptr) reader_.error(root_, fmt::format("'{}' is missing", key));
    }
    read_header();
    read_measure();
    read_limits();
    experiment_.problems = read_problems(root_, experiment_, reader_);
    if (const YamlNode* node = root_.find("variants")) {
      experiment_.variants = read_variants(*node, variants_, experiment_.limits.max_cells, reader_);
    }
    check_number_of_cells();
    return experiment_;
  }

 private:
  void read_header() {
    if (const YamlNode* node = root_.find("longattn")) {
      reader_.integer(*node, "longattn (the version of the config format)", {1, 1});
    }
    if (const YamlNode* node = root_.find("name")) {
      if (const auto name = reader_.text(*node, "name")) {
        const bool plain = name->size() <= 64 && name->front() != '.' &&
                           name->find_first_not_of(
                               "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == std::string::npos;
        if (!plain) {
          reader_.error(*node, fmt::format("name is '{}', expected at most 64 letters, digits and "
                                           "_ . -, because it names a folder",
                                           printable(name->substr(0, 80))));
        }
        experiment_.name = *name;
      }
    }
    if (const YamlNode* node = root_.find("description")) {
      experiment_.description = reader_.text(*node, "description").value_or("");
    }
    if (const YamlNode* node = root_.find("seed")) {
      experiment_.seed =
          static_cast<std::uint64_t>(reader_.integer(*node, "seed", {0, 0x1p62}).value_or(1));
    }
    if (const YamlNode* node = root_.find("threads")) {
      for (const auto& [count, at] : reader_.integers(*node, "threads", {1, 1024})) {
        experiment_.threads.push_back(static_cast<int>(count));
      }
    } else {
      experiment_.threads = {static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u))};
    }
  }

  void read_measure() {
    const YamlNode* map = root_.find("measure");
    static const std::vector<std::string> kKeys = {"rounds", "min_time", "error_rows", "seeds",
                                                   "time",   "memory",   "error",      "patterns"};
    if (map == nullptr || !reader_.check_keys(*map, "measure", kKeys)) return;
    Measure& m = experiment_.measure;
    if (const YamlNode* n = map->find("rounds")) {
      m.rounds = reader_.integer(*n, "rounds", {1, 1000}).value_or(m.rounds);
    }
    if (const YamlNode* n = map->find("min_time")) {
      m.min_time_s = reader_.duration(*n, "min_time").value_or(m.min_time_s);
    }
    if (const YamlNode* n = map->find("error_rows")) {
      m.error_rows = reader_.integer(*n, "error_rows", {1, 1e6}).value_or(m.error_rows);
    }
    if (const YamlNode* n = map->find("seeds")) {
      m.seeds = reader_.integer(*n, "seeds", {1, 1000}).value_or(m.seeds);
    }
    for (const auto& [key, flag] : {std::pair<const char*, bool*>{"time", &m.time},
                                    {"memory", &m.memory},
                                    {"error", &m.error},
                                    {"patterns", &m.patterns}}) {
      if (const YamlNode* n = map->find(key)) *flag = reader_.boolean(*n, key).value_or(*flag);
    }
  }

  void read_limits() {
    const YamlNode* map = root_.find("limits");
    static const std::vector<std::string> kKeys = {"time", "memory", "max_cells"};
    if (map == nullptr || !reader_.check_keys(*map, "limits", kKeys)) return;
    Limits& limits = experiment_.limits;
    if (const YamlNode* n = map->find("time")) {
      limits.time_s = reader_.duration(*n, "time").value_or(limits.time_s);
    }
    if (const YamlNode* n = map->find("memory")) {
      limits.memory_bytes = reader_.size(*n, "memory").value_or(limits.memory_bytes);
    }
    if (const YamlNode* n = map->find("max_cells")) {
      limits.max_cells = reader_.integer(*n, "max_cells", {1, 1e6}).value_or(limits.max_cells);
    }
  }

  void check_number_of_cells() {
    const double cells = static_cast<double>(experiment_.problems.size()) *
                         static_cast<double>(experiment_.variants.size()) *
                         static_cast<double>(experiment_.threads.size());
    if (cells > static_cast<double>(experiment_.limits.max_cells)) {
      reader_.error(root_,
                    fmt::format("{:.0f} cells ({} inputs x lengths, {} variants, {} thread "
                                "counts), limits.max_cells is {}",
                                cells, experiment_.problems.size(), experiment_.variants.size(),
                                experiment_.threads.size(), experiment_.limits.max_cells));
    }
  }

  const YamlNode& root_;
  const std::span<const Variant* const> variants_;
  ConfigReader reader_;
  Experiment experiment_;
};

}  // namespace

Experiment read_experiment(const std::string& path, std::span<const Variant* const> variants) {
  YamlDocument document = read_yaml(path);
  Experiment experiment = ExperimentReader(document, variants).read();
  document.diagnostics.throw_if_any();
  return experiment;
}

}  // namespace longattn
