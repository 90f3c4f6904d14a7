#pragma once

#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/types.h"

namespace longattn {

/// `automatic` is what an option with `may_be_auto` holds when it says `auto`.
struct Automatic {
  bool operator==(const Automatic&) const = default;
};
using OptionValue = std::variant<Automatic, bool, Index, double, std::string, std::vector<Index>,
                                 std::vector<double>>;

enum class OptionType {
  boolean,
  integer,
  number,
  choice,           ///< one of Option::choices
  path,             ///< a file, or one of Option::choices; empty text: none
  integers,         ///< a list; a single integer stands for a list of one
  numbers,          ///< a list; a single number stands for a list of one
  numbers_or_path,  ///< a list of numbers, or text that names a file
};
std::string_view to_string(OptionType type);

/// One setting of a variant: the single source for config checking, `describe`, the JSON Schema and
/// the documentation.
struct Option {
  std::string name;
  OptionType type = OptionType::integer;
  OptionValue default_value;
  std::string doc;                                            ///< one sentence, with the unit
  double minimum = -std::numeric_limits<double>::infinity();  ///< inclusive; of each list element
  double maximum = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices{};  ///< of a path: names of what needs no file
  bool nested = false;                 ///< a larger value sees every key that a smaller one sees
  bool may_be_auto = false;            ///< also takes the word `auto`
};
using OptionList = std::vector<Option>;

/// Reads one value as written in a config, on the command line or in the journal: `64`, `0.5`,
/// `true`, `[0, 128]`, `strided`, `auto`. Integers are decimal digits only (no 010, 0x10, 1e3).
/// Throws OptionError: what was found, what was expected, the range.
OptionValue parse_option(const Option& option, std::string_view text);

/// Whether the value is the name of a file: text that is neither empty nor a choice of a path.
bool names_file(const Option& option, const OptionValue& value);

/// Shortest text that parse_option reads back to the same value.
std::string to_text(const OptionValue& value);

/// A complete, checked set of option values of one variant, in the order of its OptionList.
class Options {
 public:
  Options() = default;
  /// Defaults, overridden by `given` (name, text). Throws OptionError for an unknown name, with the
  /// closest known one; for a name given twice; and as parse_option does.
  Options(const OptionList& list,
          const std::vector<std::pair<std::string, std::string>>& given = {});

  bool boolean(std::string_view name) const;
  Index integer(std::string_view name) const;
  double number(std::string_view name) const;
  const std::string& text(std::string_view name) const;  ///< choice or path
  const std::vector<Index>& integers(std::string_view name) const;
  const std::vector<double>& numbers(std::string_view name) const;
  bool is_automatic(std::string_view name) const;
  bool is_path(std::string_view name) const;  ///< a numbers_or_path that holds a path
  bool has(std::string_view name) const;
  const OptionValue& value(std::string_view name) const;

  const std::vector<std::pair<std::string, OptionValue>>& all() const { return values_; }
  /// A copy with one value replaced; throws OptionError like the constructor.
  Options with(const OptionList& list, std::string_view name, std::string_view text) const;

 private:
  std::vector<std::pair<std::string, OptionValue>> values_;
};

/// The candidate closest to a misspelt word (Damerau-Levenshtein distance at most 1/3 of its
/// length, at least 1), or empty.
std::string closest_name(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace longattn
