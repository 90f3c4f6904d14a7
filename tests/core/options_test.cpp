#include "core/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clocale>
#include <locale>

#include "core/error.h"

namespace longattn {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Option make(const char* name, OptionType type, OptionValue value) {
  Option option;
  option.name = name;
  option.type = type;
  option.default_value = std::move(value);
  return option;
}

OptionList sample() {
  Option window = make("window", OptionType::integer, Index{64});
  window.minimum = 0;
  window.maximum = 1000;
  Option stride = make("stride", OptionType::integer, Automatic{});
  stride.may_be_auto = true;
  Option pattern = make("pattern", OptionType::choice, std::string("strided"));
  pattern.choices = {"strided", "fixed"};
  Option tokens = make("tokens", OptionType::integers, std::vector<Index>{});
  tokens.minimum = 0;
  return {window,
          stride,
          pattern,
          tokens,
          make("ramp", OptionType::number, 0.5),
          make("shared", OptionType::boolean, false),
          make("layout", OptionType::path, std::string()),
          make("span", OptionType::numbers_or_path, std::vector<double>{1})};
}

TEST(Options, StartAsTheDefaults) {
  const Options options(sample());
  EXPECT_EQ(options.integer("window"), 64);
  EXPECT_TRUE(options.is_automatic("stride"));
  EXPECT_EQ(options.text("pattern"), "strided");
  EXPECT_EQ(options.number("ramp"), 0.5);
  EXPECT_FALSE(options.boolean("shared"));
  EXPECT_TRUE(options.has("layout"));
  EXPECT_FALSE(options.has("seed"));
}

TEST(Options, TakeWhatIsGiven) {
  const Options options(sample(), {{"window", " 7 "},
                                   {"stride", "auto"},
                                   {"pattern", "fixed"},
                                   {"tokens", "[0, 5,128]"},
                                   {"ramp", "-1.5e-3"},
                                   {"shared", "true"},
                                   {"layout", "a b.npy"},
                                   {"span", "spans.npy"}});
  EXPECT_EQ(options.integer("window"), 7);
  EXPECT_EQ(options.text("pattern"), "fixed");
  EXPECT_THAT(options.integers("tokens"), ElementsAre(0, 5, 128));
  EXPECT_EQ(options.number("ramp"), -0.0015);
  EXPECT_TRUE(options.boolean("shared"));
  EXPECT_EQ(options.text("layout"), "a b.npy");
  EXPECT_TRUE(options.is_path("span"));
  EXPECT_EQ(options.with(sample(), "window", "9").integer("window"), 9);
  EXPECT_EQ(options.integer("window"), 7);
}

TEST(Options, AListMayBeOneNumberOrEmpty) {
  EXPECT_THAT(Options(sample(), {{"tokens", "3"}}).integers("tokens"), ElementsAre(3));
  EXPECT_THAT(Options(sample(), {{"tokens", "[]"}}).integers("tokens"), ElementsAre());
  EXPECT_THAT(Options(sample(), {{"span", "[1, 2.5]"}}).numbers("span"), ElementsAre(1, 2.5));
}

TEST(Options, RefuseEveryOtherSpellingOfANumber) {
  for (const char* text : {"010", "0x10", "1e3", "4k", "1_000", "+1", "1.0", "", "-", "1 2", "yes",
                           "9223372036854775808", "1001", "-1", "auto", "nan", "[1]", "1\n"}) {
    EXPECT_THAT(
        [&] {
          Options(sample(), {{"window", text}});
        },
        ThrowsMessage<OptionError>(HasSubstr("option 'window' is '" + std::string(text) +
                                             "', expected an integer in 0..1000")))
        << text;
  }
  for (const char* text : {"nan", ".nan", "inf", "-inf", "1e400", "0x1p3", "1,5", "", "010", "1e",
                           "infinity", "++1", "1.5f"}) {
    EXPECT_THROW(Options(sample(), {{"ramp", text}}), OptionError) << text;
  }
  for (const char* text : {"[1,]", "[,1]", "1,2", "[1", "1]", "[1 2]", "[[1]]", "[1.5]", "[-1]"}) {
    EXPECT_THROW(Options(sample(), {{"tokens", text}}), OptionError) << text;
  }
  for (const char* text : {"yes", "on", "1", "True", ""}) {
    EXPECT_THROW(Options(sample(), {{"shared", text}}), OptionError) << text;
  }
}

TEST(Options, NameTheClosestOptionAndAllOfThem) {
  EXPECT_THAT(
      [] {
        Options(sample(), {{"widnow", "1"}});
      },
      ThrowsMessage<OptionError>(AllOf(HasSubstr("unknown option 'widnow'"),
                                       HasSubstr("did you mean 'window'?"),
                                       HasSubstr("it takes: window, stride"))));
  EXPECT_THAT(
      [] {
        Options({}, {{"x", "1"}});
      },
      ThrowsMessage<OptionError>(HasSubstr("it takes no options")));
  EXPECT_THAT(
      [] {
        Options(sample(), {{"pattern", "dense"}});
      },
      ThrowsMessage<OptionError>(HasSubstr("expected one of strided, fixed")));
  EXPECT_THAT(
      [] {
        Options(sample(), {{"window", "1"}, {"window", "2"}});
      },
      ThrowsMessage<OptionError>(HasSubstr("option 'window' is given twice")));
}

TEST(Options, TextOfAValueReadsBackToIt) {
  const OptionList list = sample();
  const auto round_trip = [&](const char* name, const OptionValue& value) {
    const Options options(list, {{name, to_text(value)}});
    EXPECT_EQ(options.value(name), value) << name << " " << to_text(value);
  };
  for (double value : {0.1, 1e-300, -1e300, 1.0 / 3, 5e-324, 0.0, 123456789.0, 1e22}) {
    round_trip("ramp", value);
    round_trip("span", std::vector<double>{value, 1});
  }
  round_trip("window", Index{1000});
  round_trip("stride", Automatic{});
  round_trip("shared", true);
  round_trip("tokens", std::vector<Index>{});
  round_trip("tokens", std::vector<Index>{1, 2});
  round_trip("span", std::string("x.npy"));
}

TEST(Options, NumbersDoNotDependOnTheLocale) {
  struct Comma : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
  };
  const std::locale before = std::locale::global(std::locale(std::locale(), new Comma));
  const Options options(sample(), {{"ramp", "1234.5"}, {"window", "1000"}});
  const std::string number = to_text(options.value("ramp"));
  const std::string integer = to_text(options.value("window"));
  std::locale::global(before);
  EXPECT_EQ(options.number("ramp"), 1234.5);
  EXPECT_EQ(number, "1234.5");
  EXPECT_EQ(integer, "1000");
}

TEST(ClosestName, FindsSmallSlipsOnly) {
  const std::vector<std::string> names = {"window", "dilation", "k"};
  EXPECT_EQ(closest_name("windwo", names), "window");  // one swap
  EXPECT_EQ(closest_name("windows", names), "window");
  EXPECT_EQ(closest_name("dilatoin", names), "dilation");
  EXPECT_EQ(closest_name("seed", names), "");
  EXPECT_EQ(closest_name(std::string(1000, 'w'), names), "");
}

}  // namespace
}  // namespace longattn
