#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "experiments/cli/commands.h"
#include "experiments/exit_codes.h"
#include "experiments/inputs/generator.h"

namespace longattn {
namespace {

using nlohmann::json;

std::string_view to_string(Traits::Rows rows) {
  switch (rows) {
    case Traits::Rows::restricted:
      return "softmax on a subset of the visible keys";
    case Traits::Rows::stochastic:
      return "non-negative, summing to one";
    case Traits::Rows::signed_:
      return "any";
  }
  return "?";
}

std::string_view to_string(Traits::Causality causality) {
  switch (causality) {
    case Traits::Causality::none:
      return "does not take causal problems";
    case Traits::Causality::strict:
      return "strict: no future token changes anything";
    case Traits::Causality::selection_sees_future:
      return "chooses keys by looking at the future";
  }
  return "?";
}

std::string_view to_string(ExtraTensor::Like like) {
  switch (like) {
    case ExtraTensor::Like::queries:
      return "queries";
    case ExtraTensor::Like::keys:
      return "keys";
    case ExtraTensor::Like::values:
      return "values";
  }
  return "?";
}

json bound(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

json describe_option(const Option& option) {
  json out = {{"name", option.name},
              {"type", to_string(option.type)},
              {"default", to_text(option.default_value)},
              {"doc", option.doc},
              {"nested", option.nested},
              {"auto", option.may_be_auto},
              {"minimum", bound(option.minimum)},
              {"maximum", bound(option.maximum)}};
  if (!option.choices.empty()) out["choices"] = option.choices;
  return out;
}

// Traits may depend on the Problem: shown for self-attention of 4,096 tokens.
json describe_for(const Variant& variant, const Options& options, bool causal) {
  Problem p;
  p.query_len = p.key_len = 4096;
  p.mask.causal = causal;
  const std::string reason = variant.unsupported(p, options);
  if (!reason.empty()) return {{"unsupported", reason}};
  const Traits traits = variant.traits(p, options);
  return {{"rows", to_string(traits.rows)},
          {"causality", to_string(traits.causality)},
          {"exact", traits.exact},
          {"content_based", traits.content_based},
          {"heads_alike", traits.heads_alike},
          {"prefix_stable", traits.prefix_stable},
          {"nests", traits.nests}};
}

json describe(const Variant& variant) {
  const Options options(variant.options);
  const Growth growth = variant.growth(options);
  json out = {{"name", variant.name},
              {"summary", variant.summary},
              {"paper", variant.paper},
              {"growth", {{"time", growth.time}, {"memory", growth.memory}}},
              {"options", json::array()},
              {"extra_tensors", json::array()},
              {"non_causal", describe_for(variant, options, false)},
              {"causal", describe_for(variant, options, true)}};
  if (const std::string remark = remark_of(variant, options); !remark.empty()) {
    out["remark"] = remark;
  }
  for (const Option& option : variant.options) out["options"].push_back(describe_option(option));
  for (const ExtraTensor& extra : variant.extra) {
    out["extra_tensors"].push_back(
        {{"name", extra.name}, {"like", to_string(extra.like)}, {"doc", extra.doc}});
  }
  return out;
}

std::string range_text(const Option& option) {
  if (std::isfinite(option.minimum) && std::isfinite(option.maximum)) {
    return fmt::format(", {:g}..{:g}", option.minimum, option.maximum);
  }
  if (std::isfinite(option.minimum)) return fmt::format(", >= {:g}", option.minimum);
  return "";
}

void print_traits(std::string_view title, const json& traits) {
  if (traits.contains("unsupported")) {
    fmt::print("{}: unsupported: {}\n", title, traits["unsupported"].get<std::string>());
    return;
  }
  fmt::print("{}:\n", title);
  for (const auto& [name, value] : traits.items()) {
    fmt::print("  {:<14} {}\n", name, value.is_string() ? value.get<std::string>() : value.dump());
  }
}

void print_options(const OptionList& options) {
  fmt::print("options:{}\n", options.empty() ? " none" : "");
  for (const Option& option : options) {
    fmt::print("  {} ({}{}{}), default {}\n      {}{}\n", option.name, to_string(option.type),
               range_text(option), option.may_be_auto ? ", or auto" : "",
               to_text(option.default_value), option.doc,
               option.nested ? "; a larger value sees every key that a smaller one sees" : "");
    for (const std::string& choice : option.choices) fmt::print("      - {}\n", choice);
    if (option.type == OptionType::path || option.type == OptionType::numbers_or_path) {
      fmt::print(
          "      file names: from the config file's folder, or from the working directory\n");
    }
  }
}

// What a generator promises with its defaults.
InputTarget default_target(const Generator& generator) {
  Problem p;
  p.query_len = p.key_len = 4096;
  return generator.target(Options(generator.options), p);
}

json describe(const Generator& generator) {
  json out = {{"name", generator.name},
              {"summary", generator.summary},
              {"why", generator.why},
              {"target", to_string(default_target(generator).measure)},
              {"queries_count_keys", generator.queries_count_keys},
              {"options", json::array()}};
  for (const Option& option : generator.options) out["options"].push_back(describe_option(option));
  return out;
}

void print_description(const Generator& generator) {
  fmt::print("{}, a generator of inputs: {}\n{}\n\n", generator.name, generator.summary,
             generator.why);
  print_options(generator.options);
  fmt::print("promises, and is measured for: {}\n", to_string(default_target(generator).measure));
  fmt::print("the first tokens of a longer input are the shorter input: {}\n",
             generator.queries_count_keys ? "causal, with as many queries as keys" : "always");
}

void print_description(const Variant& variant) {
  const json all = describe(variant);
  fmt::print("{}: {}\n{}\n\n", variant.name, variant.summary, variant.paper);
  print_options(variant.options);
  if (!variant.extra.empty()) fmt::print("extra tensors (all of them, or none):\n");
  for (const ExtraTensor& extra : variant.extra) {
    fmt::print("  {} (shaped like {}): {}\n", extra.name, to_string(extra.like), extra.doc);
  }
  const Growth growth = variant.growth(Options(variant.options));
  if (all.contains("remark")) {
    fmt::print("figures with these defaults are marked: {}\n", all["remark"].get<std::string>());
  }
  fmt::print("declared growth: time ~ N^{:g}, workspace ~ N^{:g}\n", growth.time, growth.memory);
  print_traits("declared, non-causal", all["non_causal"]);
  print_traits("declared, causal", all["causal"]);
}

}  // namespace

void add_describe(CLI::App& app, const Invocation& invocation, Action& chosen) {
  CLI::App* command = app.add_subcommand("describe",
                                         "Tell what a variant (or a generator of inputs) is, which "
                                         "options it takes, what it declares");
  struct Arguments {
    std::string name;
    bool as_json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  command->add_option("variant", arguments->name, "a name from `longattn list` or `list --inputs`")
      ->required();
  command->add_flag("--json", arguments->as_json, "for programs");
  command->footer("What is declared is what `longattn check` tests.");
  command->callback([&, arguments] {
    chosen = [&, arguments]() -> int {
      const auto tell = [&](const auto& what) {
        if (arguments->as_json) {
          fmt::print("{}\n", describe(what).dump(2));
        } else {
          print_description(what);
        }
        return static_cast<int>(kExitOk);
      };
      const Generator* generator = find_generator(arguments->name);
      const bool known = find_variant(invocation.variants, arguments->name) != nullptr;
      if (!known && generator != nullptr) return tell(*generator);
      return tell(require_variant(invocation.variants, arguments->name));
    };
  });
}

}  // namespace longattn
