#include "core/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <optional>

#include "core/error.h"

namespace longattn {
namespace {

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<Index> read_integer(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || (digits.size() > 1 && digits[0] == '0')) return std::nullopt;
  Index value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> read_number(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || digits.find_first_not_of("0123456789.eE+-") != std::string_view::npos) {
    return std::nullopt;  // keeps out inf, nan and hexadecimal
  }
  if (digits.size() > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9') {
    return std::nullopt;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

std::string number_text(double value) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  return {buffer, result.ptr};
}

std::string range_text(const Option& option) {
  if (std::isfinite(option.minimum) && std::isfinite(option.maximum)) {
    return fmt::format(" in {}..{}", number_text(option.minimum), number_text(option.maximum));
  }
  if (std::isfinite(option.minimum)) return " >= " + number_text(option.minimum);
  if (std::isfinite(option.maximum)) return " <= " + number_text(option.maximum);
  return "";
}

std::string expectation(const Option& option) {
  std::string text;
  switch (option.type) {
    case OptionType::boolean:
      text = "true or false";
      break;
    case OptionType::integer:
      text = "an integer" + range_text(option);
      break;
    case OptionType::number:
      text = "a number" + range_text(option);
      break;
    case OptionType::choice:
      text = fmt::format("one of {}", fmt::join(option.choices, ", "));
      break;
    case OptionType::path:
      text = "a file name";
      break;
    case OptionType::integers:
      text = "integers" + range_text(option) + ", as [a, b, ...]";
      break;
    case OptionType::numbers:
      text = "numbers" + range_text(option) + ", as [a, b, ...]";
      break;
    case OptionType::numbers_or_path:
      text = "numbers" + range_text(option) + ", as [a, b, ...], or a file name";
      break;
  }
  return option.may_be_auto ? text + ", or auto" : text;
}

[[noreturn]] void refuse(const Option& option, std::string_view text) {
  throw OptionError(
      fmt::format("option '{}' is '{}', expected {}", option.name, text, expectation(option)));
}

template <class T>
T in_range(const Option& option, std::string_view text, std::optional<T> value) {
  if (!value || static_cast<double>(*value) < option.minimum ||
      static_cast<double>(*value) > option.maximum) {
    refuse(option, text);
  }
  return *value;
}

template <class T, class Read>
std::vector<T> parse_list(const Option& option, std::string_view text, Read read) {
  std::string_view rest = text;
  if (rest.starts_with('[') && rest.ends_with(']') && rest.size() >= 2) {
    rest = trim(rest.substr(1, rest.size() - 2));
  } else if (rest.find(',') != std::string_view::npos) {
    refuse(option, text);
  }
  std::vector<T> values;
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    values.push_back(in_range<T>(option, text, read(trim(rest.substr(0, comma)))));
    if (comma == std::string_view::npos) break;
    rest = trim(rest.substr(comma + 1));
    if (rest.empty()) refuse(option, text);
  }
  return values;
}

const Option& find_option(const OptionList& list, std::string_view name) {
  const auto found = std::ranges::find(list, name, &Option::name);
  if (found != list.end()) return *found;
  std::vector<std::string> names;
  for (const Option& option : list) names.push_back(option.name);
  const std::string close = closest_name(name, names);
  std::string message = fmt::format("unknown option '{}'", name);
  if (!close.empty()) message += fmt::format("; did you mean '{}'?", close);
  message += names.empty() ? " (it takes no options)"
                           : fmt::format(" (it takes: {})", fmt::join(names, ", "));
  throw OptionError(message);
}

}  // namespace

std::string_view to_string(OptionType type) {
  switch (type) {
    case OptionType::boolean:
      return "boolean";
    case OptionType::integer:
      return "integer";
    case OptionType::number:
      return "number";
    case OptionType::choice:
      return "choice";
    case OptionType::path:
      return "path";
    case OptionType::integers:
      return "list of integers";
    case OptionType::numbers:
      return "list of numbers";
    case OptionType::numbers_or_path:
      return "list of numbers, or path";
  }
  return "?";
}

OptionValue parse_option(const Option& option, std::string_view untrimmed) {
  const std::string_view text = trim(untrimmed);
  if (option.may_be_auto && text == "auto") return Automatic{};
  switch (option.type) {
    case OptionType::boolean:
      if (text == "true") return true;
      if (text == "false") return false;
      refuse(option, text);
    case OptionType::integer:
      return in_range(option, text, read_integer(text));
    case OptionType::number:
      return in_range(option, text, read_number(text));
    case OptionType::choice:
      if (std::ranges::find(option.choices, text) == option.choices.end()) refuse(option, text);
      return std::string(text);
    case OptionType::path:
      return std::string(text);
    case OptionType::integers:
      return parse_list<Index>(option, text, read_integer);
    case OptionType::numbers:
      return parse_list<double>(option, text, read_number);
    case OptionType::numbers_or_path:
      if (!text.starts_with('[') && !read_number(text) && !text.empty()) return std::string(text);
      return parse_list<double>(option, text, read_number);
  }
  refuse(option, text);
}

bool names_file(const Option& option, const OptionValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  const bool may_be = option.type == OptionType::path || option.type == OptionType::numbers_or_path;
  return may_be && text != nullptr && !text->empty() &&
         std::ranges::find(option.choices, *text) == option.choices.end();
}

std::string to_text(const OptionValue& value) {
  struct Visitor {
    std::string operator()(Automatic) const { return "auto"; }
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(Index v) const { return std::to_string(v); }
    std::string operator()(double v) const { return number_text(v); }
    std::string operator()(const std::string& v) const { return v; }
    std::string operator()(const std::vector<Index>& v) const {
      return fmt::format("[{}]", fmt::join(v, ", "));
    }
    std::string operator()(const std::vector<double>& v) const {
      std::vector<std::string> parts;
      for (double x : v) parts.push_back(number_text(x));
      return fmt::format("[{}]", fmt::join(parts, ", "));
    }
  };
  return std::visit(Visitor{}, value);
}

Options::Options(const OptionList& list,
                 const std::vector<std::pair<std::string, std::string>>& given) {
  for (const Option& option : list) values_.emplace_back(option.name, option.default_value);
  std::vector<std::string> seen;
  for (const auto& [name, text] : given) {
    const Option& option = find_option(list, name);
    if (std::ranges::find(seen, name) != seen.end()) {
      throw OptionError(fmt::format("option '{}' is given twice", name));
    }
    seen.push_back(name);
    std::ranges::find(values_, name, &std::pair<std::string, OptionValue>::first)->second =
        parse_option(option, text);
  }
}

Options Options::with(const OptionList& list, std::string_view name, std::string_view text) const {
  const Option& option = find_option(list, name);
  Options copy = *this;
  std::ranges::find(copy.values_, name, &std::pair<std::string, OptionValue>::first)->second =
      parse_option(option, text);
  return copy;
}

bool Options::has(std::string_view name) const {
  return std::ranges::find(values_, name, &std::pair<std::string, OptionValue>::first) !=
         values_.end();
}

const OptionValue& Options::value(std::string_view name) const {
  const auto found = std::ranges::find(values_, name, &std::pair<std::string, OptionValue>::first);
  if (found == values_.end()) throw OptionError(fmt::format("no option '{}'", name));
  return found->second;
}

bool Options::boolean(std::string_view name) const { return std::get<bool>(value(name)); }
Index Options::integer(std::string_view name) const { return std::get<Index>(value(name)); }
double Options::number(std::string_view name) const { return std::get<double>(value(name)); }
const std::string& Options::text(std::string_view name) const {
  return std::get<std::string>(value(name));
}
const std::vector<Index>& Options::integers(std::string_view name) const {
  return std::get<std::vector<Index>>(value(name));
}
const std::vector<double>& Options::numbers(std::string_view name) const {
  return std::get<std::vector<double>>(value(name));
}
bool Options::is_automatic(std::string_view name) const {
  return std::holds_alternative<Automatic>(value(name));
}
bool Options::is_path(std::string_view name) const {
  return std::holds_alternative<std::string>(value(name));
}

std::string closest_name(std::string_view word, const std::vector<std::string>& candidates) {
  auto distance = [](std::string_view a, std::string_view b) {
    std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
    for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
    for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
      for (size_t j = 1; j <= b.size(); ++j) {
        d[i][j] = std::min(
            {d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
        }
      }
    }
    return d[a.size()][b.size()];
  };
  if (word.size() > 100) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t current = distance(word, candidate);
    if (current < best_distance) {
      best_distance = current;
      best = candidate;
    }
  }
  return best;
}

}  // namespace longattn
