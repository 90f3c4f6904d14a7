#include "experiments/inputs/generator.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

#include "core/error.h"
#include "experiments/inputs/families.h"

namespace longattn {
namespace {

constexpr std::array<const Generator*, 6> kGenerators = {&kGaussian, &kLowRank, &kClustered,
                                                         &kLocal,    &kNeedle,  &kSinks};

constexpr std::array<std::pair<InputMeasure, std::string_view>, 4> kMeasures = {
    {{InputMeasure::score_deviation, "score_deviation"},
     {InputMeasure::effective_rank, "effective_rank"},
     {InputMeasure::half_mass_distance, "half_mass_distance"},
     {InputMeasure::planted_mass, "planted_mass"}}};

}  // namespace

std::vector<Index> InputSource::planted(Index, Index, Index) const { return {}; }

std::string_view to_string(InputMeasure measure) {
  for (const auto& [value, name] : kMeasures) {
    if (value == measure) return name;
  }
  return "?";
}

std::optional<InputMeasure> input_measure_from_string(std::string_view text) {
  for (const auto& [value, name] : kMeasures) {
    if (name == text) return value;
  }
  return std::nullopt;
}

std::span<const Generator* const> generators() { return kGenerators; }

const Generator* find_generator(std::string_view name) {
  for (const Generator* generator : kGenerators) {
    if (generator->name == name) return generator;
  }
  return nullptr;
}

const Generator& require_generator(std::string_view name) {
  if (const Generator* found = find_generator(name)) return *found;
  std::vector<std::string_view> names;
  for (const Generator* known : kGenerators) names.push_back(known->name);
  throw OptionError(
      fmt::format("unknown generator '{}', expected one of {}", name, fmt::join(names, ", ")));
}

std::unique_ptr<const InputSource> make_source(const Generator& generator, const Problem& problem,
                                               const Options& options) {
  if (const std::string reason = generator.unsupported(problem, options); !reason.empty()) {
    throw UnsupportedError(fmt::format("{}: {}", generator.name, reason));
  }
  return generator.make(problem, options);
}

}  // namespace longattn
