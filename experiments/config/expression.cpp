#include "experiments/config/expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/io/text.h"
#include "core/options.h"

namespace longattn {

/// One row of the table of operators.
struct Operator {
  enum class Id {
    either,
    both,
    invert,
    equal,
    unequal,
    less,
    at_most,
    more,
    at_least,
    plus,
    minus,
    times,
    over,
    modulo,
    negate
  };
  std::string_view symbol;
  Id id;
  int level;  // a larger one binds tighter
  int operands;
  Expression::Type takes, gives;  // unknown: any two of the same
};

namespace {

using Id = Operator::Id;
using Type = Expression::Type;
constexpr int kComparison = 2, kTightest = 5;

constexpr Operator kOperators[] = {
    {"or", Id::either, 0, 2, Type::boolean, Type::boolean},
    {"and", Id::both, 1, 2, Type::boolean, Type::boolean},
    {"not", Id::invert, kComparison, 1, Type::boolean, Type::boolean},
    {"==", Id::equal, kComparison, 2, Type::unknown, Type::boolean},
    {"!=", Id::unequal, kComparison, 2, Type::unknown, Type::boolean},
    {"<", Id::less, kComparison, 2, Type::number, Type::boolean},
    {"<=", Id::at_most, kComparison, 2, Type::number, Type::boolean},
    {">", Id::more, kComparison, 2, Type::number, Type::boolean},
    {">=", Id::at_least, kComparison, 2, Type::number, Type::boolean},
    {"+", Id::plus, 3, 2, Type::number, Type::number},
    {"-", Id::minus, 3, 2, Type::number, Type::number},
    {"*", Id::times, 4, 2, Type::number, Type::number},
    {"/", Id::over, 4, 2, Type::number, Type::number},
    {"%", Id::modulo, 4, 2, Type::number, Type::number},
    {"-", Id::negate, kTightest, 1, Type::number, Type::number},
};

const Operator* find_operator(std::string_view symbol, int level, int operands) {
  const auto found = std::ranges::find_if(kOperators, [&](const Operator& op) {
    return op.symbol == symbol && op.level == level && op.operands == operands;
  });
  return found == std::end(kOperators) ? nullptr : &*found;
}

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

std::string_view describe(Type type) {
  switch (type) {
    case Type::boolean:
      return "a condition";
    case Type::number:
      return "a number";
    case Type::text:
      return "text";
    case Type::number_or_auto:
      return "a number or auto";
    case Type::unknown:
      break;
  }
  return "unknown";
}

bool fits(Type type, Type wanted) {
  return type == wanted || type == Type::unknown ||
         (type == Type::number_or_auto && wanted == Type::number);
}

}  // namespace

// By recursive descent; what is nested is counted, so that the stack cannot end.
class ExpressionParser {
 public:
  using Step = Expression::Step;

  explicit ExpressionParser(std::string_view text) : text_(text) {}

  std::vector<Step> parse() {
    if (text_.size() > Expression::kLongest) {
      throw ExpressionError(fmt::format("a condition of {} characters, at most {} are read",
                                        text_.size(), Expression::kLongest),
                            0, text_.size());
    }
    next();
    binary(0);
    if (!token_.empty()) fail(fmt::format("'{}' is not expected here", printable(token_)));
    return std::move(steps_);
  }

 private:
  [[noreturn]] void fail(std::string message, std::string hint = "") const {
    static constexpr std::pair<std::string_view, const char*> kOthers[] = {
        {"=", "did you mean '=='?"},
        {"&", "did you mean 'and'?"},
        {"|", "did you mean 'or'?"},
        {"!", "did you mean 'not'?"}};
    for (const auto& [token, meant] : kOthers) {
      if (token_ == token) hint = meant;
    }
    throw ExpressionError(std::move(message), offset_, std::max<size_t>(token_.size(), 1),
                          std::move(hint));
  }

  // Moves on to the next token; empty at the end.
  void next() {
    offset_ = std::min(text_.find_first_not_of(" \t\n", offset_ + token_.size()), text_.size());
    const std::string_view rest = text_.substr(offset_);
    size_t length = 0;
    while (length < rest.size() && is_word_character(rest[length])) ++length;
    if (length == 0 && !rest.empty()) {
      const bool two = rest.starts_with("==") || rest.starts_with("!=") || rest.starts_with("<=") ||
                       rest.starts_with(">=");
      length = two ? 2 : std::max<size_t>(decode_utf8(rest).bytes, 1);
      if (rest[0] == '\'' || rest[0] == '"') {
        const size_t end = rest.find(rest[0], 1);
        token_ = rest.substr(0, 1);
        if (end == std::string_view::npos) fail("a quote that is never closed");
        length = end + 1;
      }
    }
    token_ = rest.substr(0, length);
  }

  void binary(int level) {
    if (level == kTightest) return operand();
    if (level == kComparison && unary(kComparison, "not")) return;
    binary(level + 1);
    while (const Operator* op = find_operator(token_, level, 2)) {
      const size_t offset = offset_, width = token_.size();
      next();
      binary(level + 1);
      steps_.push_back({op, offset, width});
      if (level == kComparison && find_operator(token_, level, 2) != nullptr) {
        fail("comparisons do not chain", "write a < b and b < c");
      }
    }
  }

  bool unary(int level, std::string_view symbol) {
    if (token_ != symbol) return false;
    const size_t offset = offset_, width = token_.size();
    deeper([&] { binary(level); });
    steps_.push_back({find_operator(symbol, level, 1), offset, width});
    return true;
  }

  // Behind the current token.
  template <class Inner>
  void deeper(Inner inner) {
    if (++depth_ > Expression::kDeepest) {
      fail(fmt::format("nested deeper than {}", Expression::kDeepest));
    }
    next();
    inner();
    --depth_;
  }

  void operand() {
    if (unary(kTightest, "-")) return;
    if (token_ == "(") {
      deeper([&] { binary(0); });
      if (token_ != ")") {
        fail(token_.empty() ? "')' is missing"
                            : fmt::format("expected ')', found '{}'", printable(token_)));
      }
      return next();
    }
    if (token_.empty()) fail("the condition ends here, expected a value");
    const bool quoted = token_[0] == '\'' || token_[0] == '"';
    const bool word =
        is_word_character(token_[0]) && token_ != "and" && token_ != "or" && token_ != "not";
    if (!quoted && !word) {
      fail(fmt::format("expected a name, a number or a text in quotes, found '{}'",
                       printable(token_)));
    }
    Step step{nullptr, offset_, token_.size()};
    if (quoted) {
      step.constant = std::string(token_.substr(1, token_.size() - 2));
    } else if (token_ == "true" || token_ == "false") {
      step.constant = token_ == "true";
    } else if (token_[0] == '.' || (token_[0] >= '0' && token_[0] <= '9')) {
      step.constant = number();
    } else {
      step.name = std::string(token_);
    }
    steps_.push_back(std::move(step));
    next();
  }

  // As numbers are read everywhere in a config.
  double number() const {
    static const Option kNumber{
        .name = "value", .type = OptionType::number, .default_value = 0.0, .doc = ""};
    try {
      return std::get<double>(parse_option(kNumber, token_));
    } catch (const OptionError&) {
      fail(fmt::format("'{}' is not a number", printable(token_)));
    }
  }

  const std::string_view text_;
  std::string_view token_;
  size_t offset_ = 0;  // of the token
  int depth_ = 0;
  std::vector<Step> steps_;
};

Expression::Expression(std::string_view text) : steps_(ExpressionParser(text).parse()) {}

void Expression::check(const std::function<Type(std::string_view)>& type_of) const {
  struct Typed {
    Type type;
    const Step* step;
  };
  std::vector<Typed> stack;
  const auto typed = [&](const Step& step) -> Type {
    if (!step.name.empty()) {
      try {
        return type_of(step.name);
      } catch (const ExpressionError& error) {
        throw ExpressionError(error.what(), step.offset, step.width, error.hint, error.note);
      }
    }
    return std::holds_alternative<bool>(step.constant)     ? Type::boolean
           : std::holds_alternative<double>(step.constant) ? Type::number
                                                           : Type::text;
  };
  for (const Step& step : steps_) {
    if (step.op == nullptr) {
      stack.push_back({typed(step), &step});
      continue;
    }
    const auto count = static_cast<size_t>(step.op->operands);
    const std::vector<Typed> operands(stack.end() - step.op->operands, stack.end());
    stack.resize(stack.size() - count);
    for (const Typed& operand : operands) {
      if (step.op->takes == Type::unknown || fits(operand.type, step.op->takes)) continue;
      throw ExpressionError(fmt::format("'{}' takes {}, this is {}", step.op->symbol,
                                        step.op->takes == Type::number ? "numbers" : "conditions",
                                        describe(operand.type)),
                            operand.step->offset, operand.step->width);
    }
    if (step.op->takes == Type::unknown) {
      const auto [left, right] = std::pair(operands[0], operands[1]);
      const auto is_auto = [](const Typed& a, const Typed& b) {
        const std::string* text = std::get_if<std::string>(&b.step->constant);
        return a.type == Type::number_or_auto && text != nullptr && *text == "auto";
      };
      if (!fits(left.type, right.type) && !fits(right.type, left.type) && !is_auto(left, right) &&
          !is_auto(right, left)) {
        throw ExpressionError(fmt::format("'{}' compares {} with {}", step.op->symbol,
                                          describe(left.type), describe(right.type)),
                              step.offset, step.width);
      }
    }
    stack.push_back({step.op->gives, &step});
  }
  const Typed whole = stack.back();
  if (!fits(whole.type, Type::boolean)) {
    throw ExpressionError(fmt::format("this is {}, expected a condition", describe(whole.type)),
                          whole.step->offset, whole.step->width);
  }
}

namespace {

// A division by zero: an error only if the condition depends on it.
struct Fault {
  size_t offset, width;
  bool operator==(const Fault&) const = default;
};
using Operand = std::variant<std::monostate, bool, double, std::string, Fault>;

// What the operands that are no values make of the result: the first fault, or unknown.
const Operand* no_value(const std::vector<Operand>& operands) {
  const Operand* unknown = nullptr;
  for (const Operand& operand : operands) {
    if (std::holds_alternative<Fault>(operand)) return &operand;
    if (std::holds_alternative<std::monostate>(operand)) unknown = &operand;
  }
  return unknown;
}

Operand apply(const Operator& op, const std::vector<Operand>& x, Fault here) {
  if (op.id == Id::both || op.id == Id::either) {
    const bool decisive = op.id == Id::either;  // true or x, false and x
    for (const Operand& operand : x) {
      if (operand == Operand(decisive)) return decisive;
    }
    const Operand* other = no_value(x);
    return other != nullptr ? *other : Operand(!decisive);
  }
  if (const Operand* other = no_value(x)) return *other;
  if (op.id == Id::invert) return !std::get<bool>(x[0]);
  if (op.id == Id::equal) return x[0] == x[1];
  if (op.id == Id::unequal) return x[0] != x[1];
  for (const Operand& operand : x) {
    if (!std::holds_alternative<double>(operand)) return std::monostate{};  // auto
  }
  const double a = std::get<double>(x.front()), b = std::get<double>(x.back());
  switch (op.id) {
    case Id::less:
      return a < b;
    case Id::at_most:
      return a <= b;
    case Id::more:
      return a > b;
    case Id::at_least:
      return a >= b;
    case Id::plus:
      return a + b;
    case Id::minus:
      return a - b;
    case Id::times:
      return a * b;
    case Id::over:
      return b == 0 ? Operand(here) : Operand(a / b);
    case Id::modulo:
      return b == 0 ? Operand(here) : Operand(std::fmod(a, b));
    default:
      return -a;
  }
}

}  // namespace

std::optional<bool> Expression::holds(
    const std::function<Value(std::string_view)>& value_of) const {
  std::vector<Operand> stack;
  for (const Step& step : steps_) {
    if (step.op != nullptr) {
      const std::vector<Operand> operands(stack.end() - step.op->operands, stack.end());
      stack.resize(stack.size() - operands.size());
      stack.push_back(apply(*step.op, operands, {step.offset, step.width}));
    } else {
      stack.push_back(std::visit([](auto value) { return Operand(std::move(value)); },
                                 step.name.empty() ? step.constant : value_of(step.name)));
    }
  }
  const Operand& whole = stack.back();
  if (const Fault* fault = std::get_if<Fault>(&whole)) {
    throw ExpressionError("division by zero", fault->offset, fault->width);
  }
  if (const bool* value = std::get_if<bool>(&whole)) return *value;
  return std::nullopt;
}

}  // namespace longattn
