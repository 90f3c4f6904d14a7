#include "experiments/config/expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longattn {
namespace {

using ::testing::HasSubstr;
using Type = Expression::Type;
using Value = Expression::Value;

// window 8, length 64, variant 'tiny', causal; stride is auto, and nobody knows `missing`.
Type type_of(std::string_view name) {
  if (name == "variant") return Type::text;
  if (name == "causal") return Type::boolean;
  if (name == "stride") return Type::number_or_auto;
  if (name == "missing") return Type::unknown;
  if (name == "window" || name == "length") return Type::number;
  throw ExpressionError("unknown name", 0, 0, "a hint");
}
Value value_of(std::string_view name) {
  if (name == "variant") return std::string("tiny");
  if (name == "causal") return true;
  if (name == "stride") return std::string("auto");
  if (name == "window") return 8.0;
  if (name == "length") return 64.0;
  return {};
}

std::string text_of(std::string_view condition) {
  const Expression expression(condition);
  expression.check(type_of);
  const auto value = expression.holds(value_of);
  return !value ? "unknown" : *value ? "true" : "false";
}

struct Case {
  std::string condition, value;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.condition; }
class ExpressionIs : public ::testing::TestWithParam<Case> {};

TEST_P(ExpressionIs, WhatItsGrammarSays) {
  EXPECT_EQ(text_of(GetParam().condition), GetParam().value);
}

INSTANTIATE_TEST_SUITE_P(
    All, ExpressionIs,
    ::testing::Values(
        // Comparisons and literals.
        Case{"true", "true"}, Case{"causal", "true"}, Case{"not causal", "false"},
        Case{"window == 8", "true"}, Case{"window!=8", "false"}, Case{"window < 8", "false"},
        Case{"window <= 8", "true"}, Case{"window > 7.5", "true"}, Case{"window >= 8e0", "true"},
        Case{"variant == 'tiny'", "true"}, Case{"variant != \"tiny\"", "false"},
        Case{"variant == ''", "false"}, Case{"causal == true", "true"},
        Case{"(window < 8) == false", "true"}, Case{" \t( window )\n== 8 ", "true"},
        // Arithmetic, from the left; products bind tighter.
        Case{"2 + 3 * 4 == 14", "true"}, Case{"(2 + 3) * 4 == 20", "true"},
        Case{"10 - 3 - 2 == 5", "true"}, Case{"16 / 4 / 2 == 2", "true"},
        Case{"2 - -3 == 5", "true"}, Case{"-2 * -3 == 6", "true"}, Case{"7 % 4 == 3", "true"},
        Case{"-7 % 4 == -3", "true"}, Case{"length % window == 0", "true"},
        Case{"length % (window + 1) == 0", "false"}, Case{"1 / 4 == 0.25", "true"},
        Case{"9007199254740992 == 9007199254740992", "true"},
        // Logic: and binds tighter than or, not tighter than and, comparisons tighter than not.
        Case{"true or false and false", "true"}, Case{"(true or false) and false", "false"},
        Case{"not false and false", "false"}, Case{"not (false and false)", "true"},
        Case{"not window == 8", "false"}, Case{"not not causal", "true"},
        Case{"window == 8 and length == 64 and causal", "true"},
        // What is unknown.
        Case{"missing == 1", "unknown"}, Case{"missing < 1", "unknown"},
        Case{"not missing", "unknown"}, Case{"missing", "unknown"},
        Case{"missing + 1 == 2", "unknown"}, Case{"missing and true", "unknown"},
        Case{"missing and false", "false"}, Case{"false and missing", "false"},
        Case{"missing or true", "true"}, Case{"missing or false", "unknown"},
        Case{"variant == 'full' and missing == 1", "false"},
        // auto is no number.
        Case{"stride == 'auto'", "true"}, Case{"'auto' != stride", "false"},
        Case{"stride == 4", "false"}, Case{"stride < 4", "unknown"},
        Case{"stride * 2 == 8", "unknown"},
        // Division by zero matters only where the condition depends on it.
        Case{"window == 8 or 1 % 0 == 0", "true"}, Case{"1 / 0 == 1 and window == 1", "false"}));

struct Mistake {
  std::string condition, marked, message;
};
void PrintTo(const Mistake& m, std::ostream* out) { *out << m.condition; }
class ExpressionRefuses : public ::testing::TestWithParam<Mistake> {};

TEST_P(ExpressionRefuses, AndPointsAtIt) {
  const auto& [condition, marked, message] = GetParam();
  try {
    text_of(condition);
    FAIL() << "accepted";
  } catch (const ExpressionError& error) {
    EXPECT_EQ(condition.substr(std::min(error.offset, condition.size()), error.width), marked);
    EXPECT_THAT(error.what() + (" " + error.hint), HasSubstr(message));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ExpressionRefuses,
    ::testing::Values(
        Mistake{"", "", "the condition ends here, expected a value"},
        Mistake{"window ==", "", "the condition ends here"},
        Mistake{"window < 4 <= 8", "<=", "comparisons do not chain"},
        Mistake{"window = 8", "=", "did you mean '=='?"},
        Mistake{"causal && causal", "&", "did you mean 'and'?"},
        Mistake{"causal | causal", "|", "did you mean 'or'?"},
        Mistake{"!causal", "!", "did you mean 'not'?"},
        Mistake{"(window == 8", "", "')' is missing"},
        Mistake{"(window == 8]", "]", "expected ')', found ']'"},
        Mistake{"window == 8)", ")", "')' is not expected here"},
        Mistake{"window == 8 causal", "causal", "is not expected here"},
        Mistake{"window == and", "and", "found 'and'"},
        Mistake{"variant == 'tiny", "'", "a quote that is never closed"},
        Mistake{"window == 010", "010", "'010' is not a number"},
        Mistake{"window == 4k", "4k", "'4k' is not a number"},
        Mistake{"window == 1_000", "1_000", "is not a number"},
        Mistake{"window == 1e400", "1e400", "is not a number"},
        Mistake{"window.x == 1", "window.x", "unknown name a hint"},
        Mistake{"window == 8; causal", ";", "';' is not expected here"},
        Mistake{"system('x')", "(", "is not expected here"},
        Mistake{"causal == \xc3\xa9", "\xc3\xa9", "found '\xc3\xa9'"},
        // Types.
        Mistake{"window", "window", "this is a number, expected a condition"},
        Mistake{"'x'", "'x'", "this is text, expected a condition"},
        Mistake{"1 + 1", "+", "this is a number, expected a condition"},
        Mistake{"window == 'tiny'", "==", "'==' compares a number with text"},
        Mistake{"window == 'auto'", "==", "compares a number with text"},
        Mistake{"stride == 'aut'", "==", "compares a number or auto with text"},
        Mistake{"variant < 'z'", "variant", "'<' takes numbers, this is text"},
        Mistake{"window + causal == 2", "causal", "'+' takes numbers, this is a condition"},
        Mistake{"window and causal", "window", "'and' takes conditions, this is a number"},
        Mistake{"not variant", "variant", "'not' takes conditions"},
        Mistake{"-causal == 1", "causal", "'-' takes numbers"},
        // At the value.
        Mistake{"length % (window - 8) == 0", "%", "division by zero"},
        Mistake{"not 1 / 0 == 1", "/", "division by zero"},
        // Limits.
        Mistake{std::string(1001, ' '), std::string(1001, ' '), "1001 characters, at most 1000"}));

std::string repeated(std::string_view piece, int count) {
  std::string text;
  for (int n = 0; n < count; ++n) text += piece;
  return text;
}

TEST(Expression, NestsAsDeepAsItSaysAndNoDeeper) {
  const int deepest = Expression::kDeepest;
  for (const std::string open : {"(", "not ", "-"}) {
    const auto nested = [&](int depth) {
      return (open == "-" ? "8 == " : "") + repeated(open, depth) + (open == "-" ? "8" : "causal") +
             (open == "(" ? repeated(")", depth) : "");
    };
    EXPECT_NO_THROW(text_of(nested(deepest))) << open;
    EXPECT_THAT([&] { text_of(nested(deepest + 1)); },
                ::testing::ThrowsMessage<ExpressionError>(HasSubstr("nested deeper than 32")));
    EXPECT_THAT([&] { text_of(nested(240)); },
                ::testing::ThrowsMessage<ExpressionError>(HasSubstr("nested deeper than 32")));
  }
}

TEST(Expression, WhatIsLongButFlatIsRead) {
  EXPECT_EQ(text_of("causal" + repeated(" and causal", 90)), "true");
  EXPECT_EQ(text_of("0" + repeated("+1", 400) + "==400"), "true");
}

}  // namespace
}  // namespace longattn
