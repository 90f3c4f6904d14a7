#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.h"

namespace longattn {

/// What is wrong with an expression, and with which of its characters (in bytes).
class ExpressionError : public Error {
 public:
  ExpressionError(const std::string& message, size_t first, size_t count, std::string advice = "",
                  std::string addition = "")
      : Error(message),
        offset(first),
        width(count),
        hint(std::move(advice)),
        note(std::move(addition)) {}
  size_t offset, width;
  std::string hint, note;
};

/// A condition on named values, as `where` has it:
///
///     or          = and {"or" and}
///     and         = not {"and" not}
///     not         = "not" not | comparison
///     comparison  = sum [("==" | "!=" | "<" | "<=" | ">" | ">=") sum]
///     sum         = product {("+" | "-") product}
///     product     = sign {("*" | "/" | "%") sign}
///     sign        = "-" sign | number | 'text' | "text" | true | false | name | "(" or ")"
///
/// Numbers are doubles; a % b is the remainder of truncated division. There is nothing else: no
/// calls, no access to anything but the names.
///
/// A name may be unknown in some cell (an option that a variant does not have). Logic has three
/// values then (Kleene): what is made from an unknown is unknown, but `false and x` is false and
/// `true or x` is true.
class Expression {
 public:
  enum class Type { unknown, boolean, number, text, number_or_auto };
  using Value = std::variant<std::monostate, bool, double, std::string>;  // monostate: unknown

  /// Throws ExpressionError for what the grammar does not have, for more than kLongest characters
  /// and for nesting deeper than kDeepest.
  explicit Expression(std::string_view text);
  static constexpr size_t kLongest = 1000;
  static constexpr int kDeepest = 32;

  /// Throws ExpressionError where types do not fit, or the whole is no condition. An option of type
  /// number_or_auto may be compared with 'auto'. `type_of` may throw ExpressionError, of which the
  /// place is ignored.
  void check(const std::function<Type(std::string_view name)>& type_of) const;

  /// The value of the condition; empty: unknown. Throws ExpressionError when it depends on a
  /// division by zero. Only for what has passed `check` with these types.
  std::optional<bool> holds(const std::function<Value(std::string_view name)>& value_of) const;

 private:
  friend class ExpressionParser;
  struct Step {
    const struct Operator* op;  // nullptr: a constant or a name
    size_t offset, width;
    Value constant{};
    std::string name{};
  };
  std::vector<Step> steps_;  // in the order of evaluation: operands before their operator
};

}  // namespace longattn
