#include "experiments/config/problems.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "core/io/text.h"
#include "experiments/inputs/traces.h"

namespace longattn {
namespace {

constexpr double kMostTokens = 0x1p40;
constexpr size_t kLongestLabel = 64;

// One entry of `inputs`, before it meets `problem`.
struct InputRequest {
  InputSpec spec;
  Problem problem{};  // of a trace: its shapes, type, scale and causality
  const YamlNode* node = nullptr;

  bool is_trace() const { return spec.kind == InputSpec::Kind::trace; }
};

class InputReader {
 public:
  InputReader(const std::string& config_path, ConfigReader& reader)
      : folder_(std::filesystem::path(config_path).parent_path()), reader_(reader) {}

  std::vector<InputRequest> read(const YamlNode& list) {
    if (!list.is_list() || list.items.empty()) {
      reader_.error(list, fmt::format("inputs is {}, expected a list with at least one input",
                                      describe(list)));
      return {};
    }
    for (const YamlNode& node : list.items) read_input(node);
    return std::move(inputs_);
  }

 private:
  void read_input(const YamlNode& node) {
    static const std::vector<std::string> kKeys = {"label", "trace", "layer", "gaussian"};
    if (!reader_.check_keys(node, "an input", kKeys)) return;
    const YamlNode* trace = node.find("trace");
    const YamlNode* gaussian = node.find("gaussian");
    if ((trace == nullptr) == (gaussian == nullptr)) {
      reader_.error(node, "an input is either a trace or gaussian", "",
                    {"for example: - trace: traces/kjv-2048.safetensors",
                     "         or: - gaussian: {temperature: 1, seed: 1}"});
      return;
    }
    InputRequest input{.spec = {}, .node = &node};
    const bool read =
        trace != nullptr ? read_trace_input(*trace, input) : read_gaussian(*gaussian, input);
    const bool labelled = read_label(input);
    if (read && labelled && is_new(input)) inputs_.push_back(std::move(input));
  }

  bool read_gaussian(const YamlNode& map, InputRequest& input) {
    if (const YamlNode* n = input.node->find("layer")) {
      reader_.error(*n, "layer belongs to a trace, this input is gaussian");
    }
    if (!reader_.check_keys(map, "gaussian", {"temperature", "seed"})) return false;
    input.spec.kind = InputSpec::Kind::gaussian;
    input.spec.label = "gaussian";
    if (const YamlNode* n = map.find("temperature")) {
      input.spec.temperature = reader_.number(*n, "temperature", {0, 1e3}).value_or(1);
      input.spec.label += " temperature " + n->text;
    }
    if (const YamlNode* n = map.find("seed")) {
      const Index seed = reader_.integer(*n, "seed", {0, 0x1p62}).value_or(1);
      input.spec.seed = static_cast<std::uint64_t>(seed);
      if (seed != 1) input.spec.label += fmt::format(" seed {}", seed);
    }
    return true;
  }

  bool read_trace_input(const YamlNode& trace, InputRequest& input) {
    const auto path = reader_.text(trace, "trace");
    if (const YamlNode* n = input.node->find("layer")) {
      const auto layer = reader_.integer(*n, "layer", {0, 1e6});
      if (!layer) return false;
      input.spec.layer = *layer;
    }
    if (!path) return false;
    input.spec.kind = InputSpec::Kind::trace;
    input.spec.path = (folder_ / *path).lexically_normal().string();
    input.spec.label =
        fmt::format("{} layer {}", std::filesystem::path(*path).stem().string(), input.spec.layer)
            .substr(0, kLongestLabel);
    try {
      const Trace read = read_trace(input.spec.path, input.spec.layer);
      input.problem = problem_of(read.queries, read.keys, read.values);
      input.problem.scale = read.scale;
      input.problem.mask.causal = read.causal.value_or(false);
      return true;
    } catch (const IoError& error) {
      reader_.error(trace, error.what(), "", {"a trace is looked for beside the config file"});
    } catch (const Error& error) {
      reader_.data_error(trace, error.what());
    }
    return false;
  }

  bool read_label(InputRequest& input) {
    const YamlNode* node = input.node->find("label");
    if (node == nullptr) return true;
    const auto label = reader_.text(*node, "label");
    if (!label) return false;
    if (count_characters(*label) > kLongestLabel || printable(*label) != *label) {
      reader_.error(*node,
                    fmt::format("label is '{}', expected at most {} characters that can be printed",
                                printable(label->substr(0, 80)), kLongestLabel));
      return false;
    }
    input.spec.label = *label;
    return true;
  }

  // Labels tell inputs apart in tables; and one input twice would be the same cells twice.
  bool is_new(const InputRequest& input) {
    const InputSpec& spec = input.spec;
    const YamlNode* label = input.node->find("label");
    const std::string source = input.is_trace()
                                   ? fmt::format("trace {} {}", spec.layer, spec.path)
                                   : fmt::format("gaussian {} {}", spec.seed, spec.temperature);
    if (!sources_.insert(source).second) {
      reader_.error(*input.node, "the same input stands in the list twice");
      return false;
    }
    if (labels_.insert(spec.label).second) return true;
    reader_.error(label != nullptr ? *label : *input.node,
                  fmt::format("two inputs are labelled '{}'", printable(spec.label)),
                  "give this one another `label`");
    return false;
  }

  const std::filesystem::path folder_;
  ConfigReader& reader_;
  std::vector<InputRequest> inputs_;
  std::set<std::string> labels_, sources_;
};

// A size in `problem`: its key, and where a Problem keeps it.
struct SizeKey {
  const char* name;
  Index Problem::*field;
};
constexpr std::array<SizeKey, 5> kSizes = {{{"batch", &Problem::batch},
                                            {"num_heads", &Problem::num_heads},
                                            {"num_kv_heads", &Problem::num_kv_heads},
                                            {"head_dim", &Problem::head_dim},
                                            {"value_dim", &Problem::value_dim}}};

// `problem`, read once and applied to each input.
class ProblemReader {
 public:
  ProblemReader(const YamlNode* map, Index most, ConfigReader& reader)
      : most_(most), reader_(reader) {
    static const std::vector<std::string> kKeys = {"lengths",      "batch",    "num_heads",
                                                   "num_kv_heads", "head_dim", "value_dim",
                                                   "dtype",        "causal",   "scale"};
    if (map == nullptr || !reader_.check_keys(*map, "problem", kKeys)) return;
    map_ = map;
    for (size_t i = 0; i < kSizes.size(); ++i) {
      const YamlNode* node = map->find(kSizes[i].name);
      if (node != nullptr) sizes_[i] = reader_.integer(*node, kSizes[i].name, {1, 1e6});
    }
    if (const YamlNode* n = map->find("dtype")) dtype_ = read_dtype(*n);
    if (const YamlNode* n = map->find("causal")) causal_ = reader_.boolean(*n, "causal");
    if (const YamlNode* n = map->find("scale")) scale_ = reader_.number(*n, "scale", {-1e6, 1e6});
    if (const YamlNode* n = map->find("lengths")) {
      lengths_ = reader_.integers(*n, "length", {1, kMostTokens});
    }
  }

  void apply_to(const InputRequest& input) {
    Problem p = input.is_trace() ? of_trace(input) : of_generated();
    if (causal_) p.mask.causal = *causal_;
    if (scale_) p.scale = *scale_;
    const bool asked = map_ != nullptr && map_->find("lengths") != nullptr;
    if (!asked && !input.is_trace()) {
      reader_.error(*input.node, "a generated input needs problem.lengths", "",
                    {"for example: problem: {lengths: [1024, 2048]}"});
    } else if (!asked) {
      add(input, p, *input.node);
    } else if (static_cast<double>(problems_.size()) + static_cast<double>(lengths_.size()) >
               static_cast<double>(most_)) {
      if (!too_many_) {
        reader_.error(*map_->find("lengths"),
                      fmt::format("more than {} combinations of inputs and lengths; "
                                  "limits.max_cells is {}",
                                  most_, most_));
      }
      too_many_ = true;
    } else {
      for (const auto& [length, at] : lengths_) shorten(input, p, length, *at);
    }
  }

  std::vector<ProblemRequest> take() { return std::move(problems_); }

 private:
  std::optional<DType> read_dtype(const YamlNode& node) {
    if (node.is_scalar()) {
      if (const auto dtype = dtype_from_string(node.text)) return dtype;
    }
    reader_.error(
        node, fmt::format("dtype is {}, expected float32, bfloat16 or float16", describe(node)));
    return std::nullopt;
  }

  Problem of_generated() const {
    Problem p;
    for (size_t i = 0; i < kSizes.size(); ++i)
      p.*kSizes[i].field = sizes_[i].value_or(p.*kSizes[i].field);
    if (map_ == nullptr || map_->find("num_kv_heads") == nullptr) p.num_kv_heads = p.num_heads;
    if (map_ == nullptr || map_->find("value_dim") == nullptr) p.value_dim = p.head_dim;
    p.dtype = dtype_.value_or(p.dtype);
    return p;
  }

  // A trace brings its own shapes and type: what the config says of them must agree.
  Problem of_trace(const InputRequest& input) {
    const Problem& p = input.problem;
    for (size_t i = 0; i < kSizes.size(); ++i) {
      const Index found = p.*kSizes[i].field;
      if (sizes_[i] && *sizes_[i] != found) {
        disagrees(kSizes[i].name, fmt::format("{}", *sizes_[i]), input, fmt::format("{}", found));
      }
    }
    if (dtype_ && *dtype_ != p.dtype) {
      disagrees("dtype", std::string(to_string(*dtype_)), input, std::string(to_string(p.dtype)));
    }
    return p;
  }

  void disagrees(const char* key, const std::string& given, const InputRequest& input,
                 const std::string& found) {
    if (!disagreed_.insert(key).second) return;
    reader_.error(*map_->find(key),
                  fmt::format("{} is {}, but the trace '{}' has {}", key, given,
                              printable(input.spec.label), found),
                  "", {"shapes and type of a trace come from its file; leave the key out"});
  }

  void shorten(const InputRequest& input, Problem p, Index length, const YamlNode& at) {
    if (input.is_trace()) {
      const std::string label = printable(input.spec.label);
      if (p.query_len != p.key_len) {
        reader_.error(at,
                      fmt::format("length {}: the trace '{}' has {} queries and {} keys", length,
                                  label, p.query_len, p.key_len),
                      "", {"only a trace with as many queries as keys can be shortened"});
        return;
      }
      if (length > p.key_len) {
        reader_.error(at, fmt::format("length {}, but the trace '{}' has {} tokens", length, label,
                                      p.key_len));
        return;
      }
    }
    p.query_len = p.key_len = length;
    add(input, p, at);
  }

  void add(const InputRequest& input, const Problem& p, const YamlNode& at) {
    try {
      validate(p);
    } catch (const ProblemError& error) {
      // One mistake in `problem` is one mistake, however many inputs and lengths there are.
      if (invalid_.insert(error.what()).second)
        reader_.error(guilty(error.what(), at), error.what());
      return;
    }
    problems_.push_back({input.spec, p});
  }

  // The key that a message of validate names, or else the length or input.
  const YamlNode& guilty(std::string_view message, const YamlNode& otherwise) const {
    for (const char* key :
         {"num_kv_heads", "num_heads", "batch", "head_dim", "value_dim", "scale"}) {
      const YamlNode* node = map_ == nullptr ? nullptr : map_->find(key);
      if (node != nullptr && message.find(key) != std::string_view::npos) return *node;
    }
    return otherwise;
  }

  const YamlNode* map_ = nullptr;
  const Index most_;
  ConfigReader& reader_;
  std::array<std::optional<Index>, kSizes.size()> sizes_;
  std::optional<DType> dtype_;
  std::optional<bool> causal_;
  std::optional<double> scale_;
  std::vector<std::pair<Index, const YamlNode*>> lengths_;
  std::set<std::string> disagreed_, invalid_;
  bool too_many_ = false;
  std::vector<ProblemRequest> problems_;
};

}  // namespace

std::vector<ProblemRequest> read_problems(const YamlNode& root, const Experiment& experiment,
                                          ConfigReader& reader) {
  ProblemReader problems(root.find("problem"), experiment.limits.max_cells, reader);
  if (const YamlNode* list = root.find("inputs")) {
    for (const InputRequest& input : InputReader(experiment.path, reader).read(*list)) {
      problems.apply_to(input);
    }
  }
  return problems.take();
}

}  // namespace longattn
