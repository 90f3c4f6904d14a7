#include "experiments/config/problems.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/io/text.h"
#include "experiments/config/inputs.h"
#include "experiments/config/settings.h"
#include "experiments/inputs/generator.h"

namespace longattn {
namespace {

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

// One setting of `problem`.
struct Shape {
  Setting setting;
  std::array<std::optional<Index>, kSizes.size()> sizes{};
  std::optional<DType> dtype{};
  std::optional<bool> causal{};
  std::optional<double> scale{};
  std::vector<std::pair<Index, const YamlNode*>> lengths{};

  const YamlNode* find(const char* key) const { return setting.find(key); }
};

// `problem`, read once and applied to each input.
class ProblemReader {
 public:
  ProblemReader(const YamlNode* map, Index most, ConfigReader& reader)
      : map_(map), most_(most), reader_(reader) {
    if (map == nullptr) {
      shapes_.push_back({});
      return;
    }
    const Section& keys = problem_keys();
    for (Setting& setting : read_settings(*map, keys.name, keys.names(), most, reader)) {
      shapes_.push_back(read_shape(std::move(setting)));
    }
  }

  void apply_to(const std::vector<InputRequest>& inputs) {
    double count = 0;
    for (const Shape& shape : shapes_)
      count += std::max(1.0, static_cast<double>(shape.lengths.size()));
    count *= static_cast<double>(inputs.size());
    if (map_ != nullptr && count > static_cast<double>(most_)) {
      return reader_.error(*map_, fmt::format("{:.6g} combinations of inputs, shapes and lengths; "
                                              "limits.max_cells is {}",
                                              count, most_));
    }
    for (const InputRequest& input : inputs) {
      for (const Shape& shape : shapes_) apply(shape, input);
    }
  }

  std::vector<ProblemRequest> take() { return std::move(problems_); }

 private:
  Shape read_shape(Setting setting) {
    const Section& keys = problem_keys();
    Shape shape{std::move(setting)};
    for (size_t i = 0; i < kSizes.size(); ++i) {
      const YamlNode* node = shape.find(kSizes[i].name);
      if (node != nullptr) shape.sizes[i] = reader_.integer(*node, keys.key(kSizes[i].name));
    }
    if (const YamlNode* n = shape.find("dtype")) {
      if (const auto name = reader_.choice(*n, keys.key("dtype"))) {
        shape.dtype = dtype_from_string(*name);
      }
    }
    if (const YamlNode* n = shape.find("causal")) {
      shape.causal = reader_.boolean(*n, keys.key("causal"));
    }
    if (const YamlNode* n = shape.find("scale")) {
      shape.scale = reader_.number(*n, keys.key("scale"));
    }
    if (const YamlNode* n = shape.find("lengths")) {
      shape.lengths = reader_.integers(*n, keys.key("lengths"));
    }
    return shape;
  }

  // Whether lengths are given, rightly or not.
  bool mentions_lengths() const {
    if (map_ == nullptr) return false;
    const auto holds = [](const YamlNode* map) {
      return map != nullptr && map->find("lengths") != nullptr;
    };
    return holds(map_) || holds(map_->find("sweep")) || holds(map_->find("zip"));
  }

  void apply(const Shape& shape, const InputRequest& input) {
    Problem p = input.is_trace() ? of_trace(shape, input) : of_generated(shape);
    if (shape.causal) p.mask.causal = *shape.causal;
    if (shape.scale) p.scale = *shape.scale;
    if (mentions_lengths()) {
      for (const auto& [length, at] : shape.lengths) shorten(shape, input, p, length, *at);
    } else if (input.is_trace() && (p.query_len == 0 || p.key_len == 0)) {
      reader_.error(*input.node, fmt::format("the trace '{}' has {} queries and {} keys",
                                             printable(input.spec.label), p.query_len, p.key_len));
    } else if (input.is_trace()) {
      add(shape, input, p, *input.node);
    } else {
      reader_.error(*input.node, "a generated input needs problem.lengths", "",
                    {"for example: problem: {lengths: [1024, 2048]}"});
    }
  }

  static Problem of_generated(const Shape& shape) {
    Problem p;
    for (size_t i = 0; i < kSizes.size(); ++i) {
      p.*kSizes[i].field = shape.sizes[i].value_or(p.*kSizes[i].field);
    }
    if (shape.find("num_kv_heads") == nullptr) p.num_kv_heads = p.num_heads;
    if (shape.find("value_dim") == nullptr) p.value_dim = p.head_dim;
    p.dtype = shape.dtype.value_or(p.dtype);
    return p;
  }

  // A trace brings its own shapes and type: what the config says of them must agree.
  Problem of_trace(const Shape& shape, const InputRequest& input) {
    const Problem& p = input.problem;
    for (size_t i = 0; i < kSizes.size(); ++i) {
      const auto given = shape.sizes[i];
      const Index found = p.*kSizes[i].field;
      if (given && *given != found) {
        disagrees(shape, kSizes[i].name, fmt::format("{}", *given), input,
                  fmt::format("{}", found));
      }
    }
    if (shape.dtype && *shape.dtype != p.dtype) {
      disagrees(shape, "dtype", std::string(to_string(*shape.dtype)), input,
                std::string(to_string(p.dtype)));
    }
    return p;
  }

  void disagrees(const Shape& shape, const char* key, const std::string& given,
                 const InputRequest& input, const std::string& found) {
    const YamlNode* node = shape.find(key);
    if (!disagreed_.insert(node).second) return;
    reader_.error(*node,
                  fmt::format("{} is {}, but the trace '{}' has {}", key, given,
                              printable(input.spec.label), found),
                  "", {"shapes and type of a trace come from its file; leave the key out"});
  }

  void shorten(const Shape& shape, const InputRequest& input, Problem p, Index length,
               const YamlNode& at) {
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
    add(shape, input, p, at);
  }

  void add(const Shape& shape, const InputRequest& input, const Problem& p, const YamlNode& at) {
    try {
      validate(p);
    } catch (const ProblemError& error) {
      // One mistake in `problem` is one mistake, however many inputs and lengths there are.
      if (invalid_.insert(error.what()).second) {
        reader_.error(guilty(shape, error.what(), at), error.what());
      }
      return;
    }
    const std::string all =
        fmt::format("{} {} {} {} {} {} {} {} {} {} {}", input.spec.label, p.batch, p.num_heads,
                    p.num_kv_heads, p.query_len, p.key_len, p.head_dim, p.value_dim,
                    to_string(p.dtype), p.mask.causal, p.effective_scale());
    if (!taken_.insert(all).second) {
      if (!reader_.clean()) return;  // of values that are wrong their defaults stand here
      reader_.error(at, fmt::format("the same problem twice: {} tokens of '{}'", p.key_len,
                                    printable(input.spec.label)));
      return;
    }
    if (const Generator* generator = find_generator(input.spec.generator)) {
      const Options options(generator->options, input.spec.options);
      if (const std::string reason = generator->unsupported(p, options); !reason.empty()) {
        reader_.error(*input.node, fmt::format("{}: {}", printable(input.spec.label), reason));
        return;
      }
    }
    problems_.push_back({input.spec, p});
  }

  // The key that a message of validate names, or else the length or input.
  static const YamlNode& guilty(const Shape& shape, std::string_view message,
                                const YamlNode& otherwise) {
    for (const char* key :
         {"num_kv_heads", "num_heads", "batch", "head_dim", "value_dim", "scale"}) {
      const YamlNode* node = shape.find(key);
      if (node != nullptr && message.find(key) != std::string_view::npos) return *node;
    }
    return otherwise;
  }

  const YamlNode* const map_;
  const Index most_;
  ConfigReader& reader_;
  std::vector<Shape> shapes_;
  std::set<const YamlNode*> disagreed_;
  std::set<std::string> invalid_, taken_;
  std::vector<ProblemRequest> problems_;
};

}  // namespace

std::vector<ProblemRequest> read_problems(const YamlNode& root, Index most, ConfigReader& reader) {
  ProblemReader problems(root.find("problem"), most, reader);
  if (const YamlNode* list = root.find("inputs")) {
    problems.apply_to(read_inputs(*list, most, reader));
  }
  return problems.take();
}

}  // namespace longattn
