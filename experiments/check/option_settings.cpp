#include "experiments/check/option_settings.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace longattn {
namespace {

constexpr double kVeryLarge = 0x1p40;

std::vector<std::string> scalar_texts(const Option& option) {
  std::vector<std::string> texts;
  const bool integer = option.type == OptionType::integer;
  const auto add = [&](double value) {
    texts.push_back(integer ? std::to_string(static_cast<Index>(value)) : to_text(value));
  };
  if (std::isfinite(option.minimum)) add(option.minimum);
  if (integer) {
    for (double value : {3.0, 17.0, 64.0, std::min(option.maximum, kVeryLarge)}) add(value);
  } else {
    for (double value : {0.5, 2.0, 17.0}) add(value);
  }
  return texts;
}

std::vector<std::string> texts_to_try(const Option& option) {
  std::vector<std::string> texts;
  switch (option.type) {
    case OptionType::boolean:
      texts = {"false", "true"};
      break;
    case OptionType::integer:
    case OptionType::number:
      texts = scalar_texts(option);
      break;
    case OptionType::choice:
    case OptionType::path:
      texts = option.choices;
      break;
    case OptionType::integers:
    case OptionType::numbers:
    case OptionType::numbers_or_path:
      texts = {"[]", "[0]", "[0, 5]"};
      break;
  }
  if (option.may_be_auto) texts.push_back("auto");
  return texts;
}

}  // namespace

std::vector<Options> option_settings(const OptionList& list, Index limit) {
  const Options defaults(list);
  // The n-th value of every option before the (n+1)-th of any, so that a limit starves none.
  std::vector<std::vector<Options>> by_option;
  size_t most = 0;
  for (const Option& option : list) {
    std::vector<Options> changed;
    std::vector<std::string> seen = {to_text(defaults.value(option.name))};
    for (const std::string& text : texts_to_try(option)) {
      try {
        Options candidate = defaults.with(list, option.name, text);
        const std::string canonical = to_text(candidate.value(option.name));
        if (std::ranges::find(seen, canonical) != seen.end()) continue;
        seen.push_back(canonical);
        changed.push_back(std::move(candidate));
      } catch (const OptionError&) {
        continue;  // outside the option's range
      }
    }
    most = std::max(most, changed.size());
    by_option.push_back(std::move(changed));
  }
  std::vector<Options> settings = {defaults};
  for (size_t n = 0; n < most; ++n) {
    for (const auto& changed : by_option) {
      if (n < changed.size() && static_cast<Index>(settings.size()) < limit) {
        settings.push_back(changed[n]);
      }
    }
  }
  return settings;
}

std::string describe(const Options& options) {
  std::string text;
  for (const auto& [name, value] : options.all()) {
    if (!text.empty()) text += ", ";
    text += name + "=" + to_text(value);
  }
  return text.empty() ? "defaults" : text;
}

}  // namespace longattn
