#include "experiments/config/where.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>

#include "core/io/text.h"
#include "experiments/config/expression.h"
#include "experiments/inputs/generator.h"

namespace longattn {
namespace {

using Type = Expression::Type;
using Value = Expression::Value;

// A cell before it is one.
struct Candidate {
  const ProblemRequest& problem;
  const VariantRequest& variant;
  int threads;
};

struct Field {
  const char* name;
  Type type;
  Value (*value)(const Candidate&);
};

double real(Index value) { return static_cast<double>(value); }

// What a condition may ask of a cell, beside the options of its variant.
constexpr Field kFields[] = {
    {"variant", Type::text,
     [](const Candidate& c) -> Value { return std::string(c.variant.variant->name); }},
    {"input", Type::text, [](const Candidate& c) -> Value { return c.problem.input.label; }},
    {"layer", Type::number,
     [](const Candidate& c) -> Value {
       if (!c.problem.input.is_trace()) return {};
       return real(c.problem.input.layer);
     }},
    {"generator", Type::text,
     [](const Candidate& c) -> Value {
       if (c.problem.input.is_trace()) return {};
       return c.problem.input.generator;
     }},
    {"temperature", Type::number,
     [](const Candidate& c) -> Value {
       const Generator* generator = find_generator(c.problem.input.generator);
       if (generator == nullptr) return {};
       return Options(generator->options, c.problem.input.options).number("temperature");
     }},
    {"threads", Type::number, [](const Candidate& c) -> Value { return real(c.threads); }},
    {"length", Type::number,
     [](const Candidate& c) -> Value { return real(c.problem.problem.key_len); }},
    {"query_len", Type::number,
     [](const Candidate& c) -> Value { return real(c.problem.problem.query_len); }},
    {"key_len", Type::number,
     [](const Candidate& c) -> Value { return real(c.problem.problem.key_len); }},
    {"batch", Type::number,
     [](const Candidate& c) -> Value { return real(c.problem.problem.batch); }},
    {"num_heads", Type::number,
     [](const Candidate& c) -> Value { return real(c.problem.problem.num_heads); }},
    {"num_kv_heads", Type::number,
     [](const Candidate& c) -> Value { return real(c.problem.problem.num_kv_heads); }},
    {"head_dim", Type::number,
     [](const Candidate& c) -> Value { return real(c.problem.problem.head_dim); }},
    {"value_dim", Type::number,
     [](const Candidate& c) -> Value { return real(c.problem.problem.value_dim); }},
    {"dtype", Type::text,
     [](const Candidate& c) -> Value { return std::string(to_string(c.problem.problem.dtype)); }},
    {"causal", Type::boolean,
     [](const Candidate& c) -> Value { return c.problem.problem.mask.causal; }},
    {"scale", Type::number,
     [](const Candidate& c) -> Value { return c.problem.problem.effective_scale(); }},
};

const Field* find_field(std::string_view name) {
  const auto found = std::ranges::find_if(kFields, [&](const Field& f) { return f.name == name; });
  return found == std::end(kFields) ? nullptr : &*found;
}

const Option* find_option(const Variant& variant, std::string_view name) {
  const auto found = std::ranges::find(variant.options, name, &Option::name);
  return found == variant.options.end() ? nullptr : &*found;
}

Type expression_type(const Option& option) {
  switch (option.type) {
    case OptionType::boolean:
      return Type::boolean;
    case OptionType::integer:
    case OptionType::number:
      return option.may_be_auto ? Type::number_or_auto : Type::number;
    case OptionType::choice:
    case OptionType::path:
      return Type::text;
    case OptionType::integers:
    case OptionType::numbers:
    case OptionType::numbers_or_path:
      break;
  }
  throw ExpressionError(
      fmt::format("'{}' is a {}, which cannot be compared", option.name, to_string(option.type)), 0,
      0);
}

Value value_of(const Candidate& candidate, std::string_view name) {
  if (const Field* field = find_field(name)) return field->value(candidate);
  if (!candidate.variant.options.has(name)) return {};
  const OptionValue& value = candidate.variant.options.value(name);
  if (const bool* flag = std::get_if<bool>(&value)) return *flag;
  if (const Index* integer = std::get_if<Index>(&value)) return real(*integer);
  if (const double* number = std::get_if<double>(&value)) return *number;
  return to_text(value);
}

// The condition, checked against every variant that it will meet.
class Where {
 public:
  Where(const YamlNode& node, const Experiment& experiment, std::span<const Variant* const> table,
        ConfigReader& reader)
      : node_(node), reader_(reader) {
    const auto text = reader.text(node, config_keys().key("where"));
    if (!text) return;
    for (const VariantRequest& request : experiment.variants) present_.insert(request.variant);
    guarded("", [&] {
      Expression expression(*text);
      expression.check([&](std::string_view name) { return known(name, table); });
      for (const Variant* variant : present_) {
        expression.check([&](std::string_view name) {
          if (const Field* field = find_field(name)) return field->type;
          const Option* option = find_option(*variant, name);
          return option == nullptr ? Type::unknown : expression_type(*option);
        });
      }
      expression_ = std::move(expression);
    });
  }

  bool keeps(const Candidate& candidate) {
    if (!expression_) return true;
    bool kept = true;
    const auto about = [&] {
      return fmt::format("for {} at {} tokens", candidate.variant.variant->name,
                         candidate.problem.problem.key_len);
    };
    guarded(about(), [&] {
      const auto value = [&](std::string_view name) { return value_of(candidate, name); };
      kept = expression_->holds(value).value_or(true);
    });
    return kept;
  }

 private:
  template <class Action>
  void guarded(const std::string& note, Action action) {
    try {
      action();
    } catch (const ExpressionError& error) {
      std::vector<std::string> notes;
      for (const std::string& one : {note, error.note}) {
        if (!one.empty()) notes.push_back(one);
      }
      reader_.error_within(node_, error.offset, error.width, error.what(), error.hint, notes);
    }
  }

  // Complains of names that nothing in this config has.
  Type known(std::string_view name, std::span<const Variant* const> table) const {
    if (find_field(name) != nullptr) return Type::unknown;
    const auto has = [&](const Variant* variant) { return find_option(*variant, name) != nullptr; };
    if (std::ranges::any_of(present_, has)) return Type::unknown;
    std::vector<std::string> names;
    for (const Field& field : kFields) names.emplace_back(field.name);
    for (const Variant* variant : present_) {
      for (const Option& option : variant->options) {
        if (std::ranges::find(names, option.name) == names.end()) names.push_back(option.name);
      }
    }
    // A variant that was mistaken elsewhere may have been meant.
    const bool elsewhere = std::ranges::any_of(table, has);
    if (elsewhere && !reader_.clean()) return Type::unknown;
    const std::string close = closest_name(name, names);
    throw ExpressionError(elsewhere
                              ? fmt::format("no variant of this config has an option '{}'", name)
                              : fmt::format("unknown name '{}'", printable(name)),
                          0, 0, close.empty() ? "" : fmt::format("did you mean '{}'?", close),
                          fmt::format("where knows: {}", fmt::join(names, ", ")));
  }

  const YamlNode& node_;
  ConfigReader& reader_;
  std::set<const Variant*> present_;
  std::optional<Expression> expression_;
};

}  // namespace

std::vector<CellRequest> read_cells(const YamlNode* node, const Experiment& experiment,
                                    std::span<const Variant* const> table, ConfigReader& reader) {
  std::optional<Where> where;
  if (node != nullptr) where.emplace(*node, experiment, table, reader);
  std::vector<CellRequest> cells;
  size_t all = 0;
  for (size_t p = 0; p < experiment.problems.size(); ++p) {
    for (size_t v = 0; v < experiment.variants.size(); ++v) {
      for (int threads : experiment.threads) {
        ++all;
        if (!where || where->keeps({experiment.problems[p], experiment.variants[v], threads})) {
          cells.push_back({p, v, threads});
        }
      }
    }
  }
  if (cells.empty() && all > 0 && reader.clean()) {
    reader.error(*node, fmt::format("where leaves none of the {} cells", all));
  }
  return cells;
}

}  // namespace longattn
