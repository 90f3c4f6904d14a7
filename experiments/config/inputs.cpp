#include "experiments/config/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/io/text.h"
#include "experiments/config/settings.h"
#include "experiments/inputs/traces.h"

namespace longattn {
namespace {

constexpr size_t kLongestLabel = 64;

std::string stem(const std::string& path) { return std::filesystem::path(path).stem().string(); }

class InputReader {
 public:
  InputReader(Index most, ConfigReader& reader) : most_(most), reader_(reader) {}

  void read(const YamlNode& node) {
    const Section& keys = input_keys();
    for (const Setting& setting : read_settings(node, keys.name, keys.names(), most_, reader_)) {
      read_setting(node, setting);
    }
  }
  std::vector<InputRequest> take() { return std::move(inputs_); }

 private:
  void read_setting(const YamlNode& node, const Setting& setting) {
    const YamlNode* trace = setting.find("trace");
    const YamlNode* gaussian = setting.find("gaussian");
    if ((trace == nullptr) == (gaussian == nullptr)) {
      reader_.error(node, "an input is either a trace or gaussian", "",
                    {"for example: - trace: traces/kjv-2048.safetensors",
                     "         or: - gaussian: {temperature: 1, seed: 1}"});
    } else if (trace != nullptr) {
      InputRequest input{.spec = {}, .node = &node};
      const bool read = read_trace_input(*trace, setting, input);
      add(std::move(input), read, setting, {});
    } else {
      if (const YamlNode* layer = setting.find("layer")) {
        reader_.error(*layer, "layer belongs to a trace, this input is gaussian");
      }
      const Section& keys = gaussian_keys();
      for (const Setting& inner :
           read_settings(*gaussian, keys.name, keys.names(), most_, reader_)) {
        InputRequest input{.spec = {}, .node = &node};
        read_gaussian(inner, input.spec);
        add(std::move(input), true, setting, inner);
      }
    }
  }

  void read_gaussian(const Setting& setting, InputSpec& spec) {
    spec.kind = InputSpec::Kind::gaussian;
    spec.label = "gaussian";
    const Section& keys = gaussian_keys();
    if (const YamlNode* n = setting.find("temperature")) {
      spec.temperature = reader_.number(*n, keys.key("temperature")).value_or(spec.temperature);
      spec.label += " temperature " + n->text;
    }
    if (const YamlNode* n = setting.find("seed")) {
      const Index seed = reader_.integer(*n, keys.key("seed")).value_or(1);
      spec.seed = static_cast<std::uint64_t>(seed);
      if (seed != 1) spec.label += fmt::format(" seed {}", seed);
    }
  }

  bool read_trace_input(const YamlNode& trace, const Setting& setting, InputRequest& input) {
    const auto path = reader_.text(trace, input_keys().key("trace"));
    if (const YamlNode* n = setting.find("layer")) {
      const auto layer = reader_.integer(*n, input_keys().key("layer"));
      if (!layer) return false;
      input.spec.layer = *layer;
    }
    if (!path) return false;
    input.spec.kind = InputSpec::Kind::trace;
    input.spec.path = reader_.resolved(trace, *path);
    input.spec.label =
        fmt::format("{} layer {}", stem(*path), input.spec.layer).substr(0, kLongestLabel);
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

  void add(InputRequest input, bool read, const Setting& outer, const Setting& inner) {
    const bool labelled = read_label(outer, inner, input);
    if (!read || !labelled || too_many() || !is_new(input, outer)) return;
    inputs_.push_back(std::move(input));
  }

  // The label that is given, with what tells the settings of its input apart.
  bool read_label(const Setting& outer, const Setting& inner, InputRequest& input) {
    const YamlNode* node = outer.find("label");
    if (node == nullptr) return true;
    const auto label = reader_.text(*node, input_keys().key("label"));
    if (!label) return false;
    if (count_characters(*label) > kLongestLabel || printable(*label) != *label) {
      reader_.error(*node,
                    fmt::format("label is '{}', expected at most {} characters that can be printed",
                                printable(label->substr(0, 80)), kLongestLabel));
      return false;
    }
    input.spec.label = *label;
    const bool own = std::ranges::any_of(
        outer.values, [](const auto& v) { return v.swept && v.key->key == "label"; });
    for (const Setting* setting : {&outer, &inner}) {
      for (const auto& [key, value, swept] : setting->values) {
        if (own || !swept || key->key == "gaussian") continue;
        input.spec.label += key->key == "trace" ? " " + printable(stem(value->text))
                                                : fmt::format(" {} {}", key->key, value->text);
      }
    }
    return true;
  }

  bool too_many() {
    if (static_cast<Index>(inputs_.size()) < most_) return false;
    reader_.error(*inputs_.back().node,
                  fmt::format("more than {} inputs; limits.max_cells is {}", most_, most_));
    return true;
  }

  // Labels tell inputs apart in tables; and one input twice would be the same cells twice.
  bool is_new(const InputRequest& input, const Setting& setting) {
    const InputSpec& spec = input.spec;
    const YamlNode* label = setting.find("label");
    const std::string source = input.is_trace()
                                   ? fmt::format("trace {} {}", spec.layer, spec.path)
                                   : fmt::format("gaussian {} {}", spec.seed, spec.temperature);
    if (!sources_.insert(source).second) {
      // Of values that are wrong their defaults stand here.
      if (reader_.clean()) reader_.error(*input.node, "the same input stands in the list twice");
      return false;
    }
    if (labels_.insert(spec.label).second) return true;
    reader_.error(label != nullptr ? *label : *input.node,
                  fmt::format("two inputs are labelled '{}'", printable(spec.label)),
                  "give this one another `label`");
    return false;
  }

  const Index most_;
  ConfigReader& reader_;
  std::vector<InputRequest> inputs_;
  std::set<std::string> labels_, sources_;
};

}  // namespace

std::vector<InputRequest> read_inputs(const YamlNode& list, Index most, ConfigReader& reader) {
  if (!list.is_list() || list.items.empty()) {
    reader.error(
        list, fmt::format("inputs is {}, expected a list with at least one input", describe(list)));
    return {};
  }
  InputReader inputs(most, reader);
  for (const YamlNode& node : list.items) inputs.read(node);
  return inputs.take();
}

}  // namespace longattn
