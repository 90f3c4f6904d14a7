#include "experiments/config/inputs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/io/text.h"
#include "experiments/config/settings.h"
#include "experiments/inputs/generators.h"
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
    std::vector<Setting::Value> sources;
    for (const Setting::Value& value : setting.values) {
      const std::string& name = value.key->key;
      if (name == "trace" || find_generator(name) != nullptr) sources.push_back(value);
    }
    if (sources.empty() && misspelt(node)) return;  // has been told
    if (sources.size() != 1) {
      reader_.error(node, "an input is either a trace or one generator", "",
                    {"for example: - trace: traces/kjv-2048.safetensors",
                     "         or: - gaussian: {temperature: 1, seed: 1}",
                     "`longattn list --inputs` lists the generators"});
      return;
    }
    const auto& [key, value, swept] = sources.front();
    if (const Generator* generator = find_generator(key->key)) {
      return read_generated(*generator, node, *value, setting);
    }
    InputRequest input{.spec = {}, .node = &node};
    const bool read = read_trace_input(*value, setting, input);
    add(std::move(input), read, setting, {});
  }

  // Whether a map has a key that no input has.
  static bool misspelt(const YamlNode& node) {
    const std::vector<std::string> known = input_keys().names();
    return std::ranges::any_of(node.entries, [&](const YamlEntry& entry) {
      const bool expands = entry.key == "sweep" || entry.key == "zip";
      return !expands && std::ranges::find(known, entry.key) == known.end();
    });
  }

  void read_generated(const Generator& generator, const YamlNode& node, const YamlNode& map,
                      const Setting& setting) {
    if (const YamlNode* layer = setting.find("layer")) {
      reader_.error(*layer,
                    fmt::format("layer belongs to a trace, this input is {}", generator.name));
    }
    std::vector<std::string> names;
    for (const Option& option : generator.options) names.push_back(option.name);
    for (const Setting& inner : read_settings(map, generator.name, names, most_, reader_)) {
      InputRequest input{.spec = {}, .node = &node};
      const bool read = read_options(generator, inner, input.spec);
      add(std::move(input), read, setting, inner);
    }
  }

  bool read_options(const Generator& generator, const Setting& setting, InputSpec& spec) {
    std::vector<std::pair<std::string, std::string>> given;
    for (const Setting::Value& value : setting.values) {
      const auto option = std::ranges::find(generator.options, value.key->key, &Option::name);
      const auto parsed = reader_.option(*value.value, *option, !value.swept);
      if (parsed) given.emplace_back(option->name, to_text(*parsed));
    }
    spec = generated_input(generator.name, given);
    spec.label = spec.label.substr(0, kLongestLabel);
    return given.size() == setting.values.size();
  }

  bool read_trace_input(const YamlNode& trace, const Setting& setting, InputRequest& input) {
    const auto path = reader_.text(trace, input_keys().key("trace"));
    if (const YamlNode* n = setting.find("layer")) {
      const auto layer = reader_.integer(*n, input_keys().key("layer"));
      if (!layer) return false;
      input.spec.layer = *layer;
    }
    if (!path) return false;
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
        if (own || !swept || find_generator(key->key) != nullptr) continue;
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
                                   : fmt::format("{} {}", spec.generator, spec.options);
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
