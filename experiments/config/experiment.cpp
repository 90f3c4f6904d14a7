#include "experiments/config/experiment.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <thread>

#include "core/io/text.h"
#include "experiments/config/reader.h"
#include "experiments/config/variants.h"
#include "experiments/inputs/traces.h"

namespace longattn {
namespace {

constexpr double kMostTokens = 0x1p40;

// One entry of `inputs`, before it meets the lengths.
struct InputRequest {
  InputSpec spec;
  Problem problem;  // of a trace: its shapes, type, scale and causality
  const YamlNode* node = nullptr;
};

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
    read_inputs();
    read_problems();
    if (const YamlNode* node = root_.find("variants")) {
      experiment_.variants = read_variants(*node, variants_, reader_);
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
    static const std::vector<std::string> kKeys = {"rounds", "min_time", "error_rows", "time",
                                                   "memory", "error",    "patterns"};
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

  void read_inputs() {
    const YamlNode* list = root_.find("inputs");
    if (list == nullptr) return;
    if (!list->is_list() || list->items.empty()) {
      reader_.error(*list, fmt::format("inputs is {}, expected a list with at least one input",
                                       describe(*list)));
      return;
    }
    for (const YamlNode& node : list->items) {
      static const std::vector<std::string> kKeys = {"label", "trace", "layer", "gaussian"};
      if (!reader_.check_keys(node, "an input", kKeys)) continue;
      const YamlNode* trace = node.find("trace");
      const YamlNode* gaussian = node.find("gaussian");
      if ((trace == nullptr) == (gaussian == nullptr)) {
        reader_.error(node, "an input is either a trace or gaussian", "",
                      {"for example: - trace: traces/kjv-2048.safetensors",
                       "          or: - gaussian: {temperature: 1, seed: 1}"});
        continue;
      }
      InputRequest input;
      input.node = &node;
      if (trace != nullptr ? read_trace_input(node, *trace, input) : read_gaussian(node, input)) {
        add_input(node, std::move(input));
      }
    }
  }

  bool read_gaussian(const YamlNode& node, InputRequest& input) {
    const YamlNode& map = *node.find("gaussian");
    if (!reader_.check_keys(map, "gaussian", {"temperature", "seed"})) return false;
    if (const YamlNode* n = node.find("layer")) reader_.error(*n, "layer belongs to a trace");
    input.spec.kind = InputSpec::Kind::gaussian;
    input.spec.label = "gaussian";
    if (const YamlNode* n = map.find("temperature")) {
      input.spec.temperature = reader_.number(*n, "temperature", {0, 1e3}).value_or(1);
      input.spec.label += " temperature " + n->text;
    }
    if (const YamlNode* n = map.find("seed")) {
      input.spec.seed =
          static_cast<std::uint64_t>(reader_.integer(*n, "seed", {0, 0x1p62}).value_or(1));
    }
    return true;
  }

  bool read_trace_input(const YamlNode& node, const YamlNode& trace, InputRequest& input) {
    const auto path = reader_.text(trace, "trace");
    if (!path) return false;
    input.spec.kind = InputSpec::Kind::trace;
    if (const YamlNode* n = node.find("layer")) {
      input.spec.layer = reader_.integer(*n, "layer", {0, 1e6}).value_or(0);
    }
    const std::filesystem::path here = std::filesystem::path(experiment_.path).parent_path();
    input.spec.path = (here / *path).lexically_normal().string();
    input.spec.label =
        fmt::format("{} layer {}", std::filesystem::path(*path).stem().string(), input.spec.layer);
    try {
      const Trace read = read_trace(input.spec.path, input.spec.layer);
      input.problem = problem_of(read.queries, read.keys, read.values);
      input.problem.scale = read.scale;
      input.problem.mask.causal = read.causal.value_or(false);
    } catch (const Error& error) {
      reader_.error(trace, error.what());
      return false;
    }
    return true;
  }

  void add_input(const YamlNode& node, InputRequest input) {
    if (const YamlNode* n = node.find("label")) {
      input.spec.label = reader_.text(*n, "label").value_or(input.spec.label);
    }
    const bool taken = std::ranges::any_of(
        inputs_, [&](const InputRequest& other) { return other.spec.label == input.spec.label; });
    if (taken) {
      reader_.error(node, fmt::format("two inputs are labelled '{}'", printable(input.spec.label)),
                    "give one of them a `label`");
    }
    inputs_.push_back(std::move(input));
  }

  // Settings of `problem` for one input; those that a trace fixes are for generated inputs alone.
  Problem base_problem(const InputRequest& input, const YamlNode* map) {
    Problem p = input.problem;
    if (map == nullptr) return p;
    const bool generated = input.spec.kind == InputSpec::Kind::gaussian;
    const auto set = [&](const char* key, Index& field) {
      const YamlNode* node = map->find(key);
      if (node != nullptr) field = reader_.integer(*node, key, {1, 1e6}).value_or(field);
      return node != nullptr;
    };
    if (generated) {
      set("batch", p.batch);
      set("num_heads", p.num_heads);
      if (!set("num_kv_heads", p.num_kv_heads)) p.num_kv_heads = p.num_heads;
      set("head_dim", p.head_dim);
      if (!set("value_dim", p.value_dim)) p.value_dim = p.head_dim;
      if (const YamlNode* node = map->find("dtype")) {
        const auto dtype = dtype_from_string(node->text);
        if (!dtype) {
          reader_.error(*node, fmt::format("dtype is {}, expected float32, bfloat16 or float16",
                                           describe(*node)));
        }
        p.dtype = dtype.value_or(p.dtype);
      }
    }
    if (const YamlNode* node = map->find("causal")) {
      p.mask.causal = reader_.boolean(*node, "causal").value_or(false);
    }
    if (const YamlNode* node = map->find("scale")) {
      p.scale = reader_.number(*node, "scale", {-1e6, 1e6});
    }
    return p;
  }

  void read_problems() {
    const YamlNode* map = root_.find("problem");
    static const std::vector<std::string> kKeys = {"lengths",      "batch",    "num_heads",
                                                   "num_kv_heads", "head_dim", "value_dim",
                                                   "dtype",        "causal",   "scale"};
    if (map != nullptr && !reader_.check_keys(*map, "problem", kKeys)) map = nullptr;
    std::vector<std::pair<Index, const YamlNode*>> lengths;
    if (map != nullptr && map->find("lengths") != nullptr) {
      lengths = reader_.integers(*map->find("lengths"), "length", {1, kMostTokens});
    }
    for (const InputRequest& input : inputs_) {
      const Problem base = base_problem(input, map);
      if (lengths.empty()) {
        if (input.spec.kind == InputSpec::Kind::trace) {
          add_problem(input, base, base.key_len, *input.node);
        } else if (map == nullptr || map->find("lengths") == nullptr) {
          reader_.error(*input.node, "a generated input needs problem.lengths");
        }
        continue;
      }
      for (const auto& [length, at] : lengths) add_problem(input, base, length, *at);
    }
  }

  void add_problem(const InputRequest& input, Problem p, Index length, const YamlNode& at) {
    const bool trace = input.spec.kind == InputSpec::Kind::trace;
    if (trace && length > p.key_len) {
      reader_.error(at, fmt::format("length {}: the trace {} has {} tokens", length,
                                    printable(input.spec.label), p.key_len));
      return;
    }
    p.query_len = p.key_len = length;
    try {
      validate(p);
    } catch (const ProblemError& error) {
      // One mistake in `problem` is one mistake, however many lengths there are.
      if (!invalid_) reader_.error(at, error.what());
      invalid_ = true;
      return;
    }
    experiment_.problems.push_back({input.spec, p});
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
  std::vector<InputRequest> inputs_;
  bool invalid_ = false;
};

}  // namespace

Experiment read_experiment(const std::string& path, std::span<const Variant* const> variants) {
  YamlDocument document = read_yaml(path);
  Experiment experiment = ExperimentReader(document, variants).read();
  document.diagnostics.throw_if_any();
  return experiment;
}

}  // namespace longattn
