#include "experiments/config/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/experiments/config_testing.h"

namespace longattn {
namespace {

using ::testing::HasSubstr;

YamlNode tree(std::string text) {
  Diagnostics diagnostics;
  return parse_yaml({.name = "a.yaml", .text = std::move(text)}, diagnostics);
}

std::string refusal(std::string text) {
  Diagnostics diagnostics;
  try {
    parse_yaml({.name = "a.yaml", .text = std::move(text)}, diagnostics);
    return diagnostics.empty() ? "" : diagnostics.render();
  } catch (const ConfigError& error) {
    return error.what();
  }
}

TEST(YamlTree, EveryKeyAndEveryValueHasItsPlace) {
  const YamlNode d = tree("name: x\nlist:\n  - 1\n  - {a: 'q', b: }\n");
  ASSERT_TRUE(d.is_map());
  ASSERT_EQ(d.entries.size(), 2u);
  EXPECT_EQ(d.entries[0].position, (Position{1, 1}));
  EXPECT_EQ(d.entries[0].value.position, (Position{1, 7}));
  const YamlNode& list = d.entries[1].value;
  ASSERT_TRUE(list.is_list());
  EXPECT_EQ(list.items[0].position, (Position{3, 5}));
  const YamlNode& map = list.items[1];
  EXPECT_EQ(map.entries[0].position, (Position{4, 6}));
  EXPECT_EQ(map.entries[0].value.position, (Position{4, 9}));
  EXPECT_TRUE(map.entries[0].value.quoted);
  EXPECT_EQ(map.entries[1].value.kind, YamlNode::Kind::null);
}

TEST(YamlTree, ScalarsStayTextAndQuotesAreRemembered) {
  const YamlNode d = tree("a: 010\nb: \"010\"\nc: yes\nd: |\n  two\n  lines\n");
  EXPECT_EQ(d.find("a")->text, "010");
  EXPECT_FALSE(d.find("a")->quoted);
  EXPECT_TRUE(d.find("b")->quoted);
  EXPECT_EQ(d.find("c")->text, "yes");
  EXPECT_TRUE(d.find("d")->quoted);
  EXPECT_EQ(d.find("d")->text, "two\nlines\n");
  EXPECT_EQ(d.find("e"), nullptr);
}

TEST(YamlTree, NullTildeAndNothingAreNull) {
  const YamlNode d = tree("a: ~\nb: null\nc:\nd: 'null'\n");
  for (const char* key : {"a", "b", "c"}) EXPECT_EQ(d.find(key)->kind, YamlNode::Kind::null);
  EXPECT_TRUE(d.find("d")->is_scalar());
}

TEST(YamlTree, ColumnsCountCharactersNotBytes) {
  const YamlNode d = tree("\xc3\xa9\xc3\xa9: x\n");
  EXPECT_EQ(d.entries[0].value.position, (Position{1, 5}));
}

TEST(YamlTree, WindowsLineEndsByteOrderMarkTabsAndTrailingSpacesAreAccepted) {
  const YamlNode d = tree(
      "\xef\xbb\xbf"
      "a:\t1 \t\r\nb: 2\t# note\r\n");
  EXPECT_EQ(d.find("a")->text, "1");
  EXPECT_EQ(d.find("b")->text, "2");
  EXPECT_EQ(d.entries[0].position, (Position{1, 1}));
  EXPECT_EQ(d.entries[1].position, (Position{2, 1}));
}

TEST(YamlTree, AnEmptyFileAndOneOfCommentsHoldNothing) {
  EXPECT_EQ(tree("").kind, YamlNode::Kind::null);
  EXPECT_EQ(tree("# only\n# comments\n").kind, YamlNode::Kind::null);
}

struct Refused {
  const char* name;
  std::string text;
  std::string message;
};
void PrintTo(const Refused& r, std::ostream* out) { *out << r.name; }

class YamlTreeRefuses : public ::testing::TestWithParam<Refused> {};

TEST_P(YamlTreeRefuses, WithAMessageThatHelps) {
  EXPECT_THAT(refusal(GetParam().text), HasSubstr(GetParam().message));
}

std::string repeated(std::string_view piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += piece;
  return text;
}

// Anchors of `width` aliases each of the one before: width^levels values.
std::string laughs(int width, int levels) {
  std::string text = "a0: &a0 x\n";
  for (int n = 1; n <= levels; ++n) {
    const std::string name = "a" + std::to_string(n);
    text +=
        name + ": &" + name + " [" + repeated("*a" + std::to_string(n - 1) + ", ", width) + "]\n";
  }
  return text;
}

// Each anchor a list of the one before.
std::string ladder(int rungs) {
  std::string text = "a0: &a0 x\n";
  for (int n = 1; n <= rungs; ++n) {
    const std::string name = "a" + std::to_string(n);
    text += name + ": &" + name + " [*a" + std::to_string(n - 1) + "]\n";
  }
  return text;
}

INSTANTIATE_TEST_SUITE_P(
    Texts, YamlTreeRefuses,
    ::testing::Values(
        Refused{"DuplicateKey", "a: 1\nb: 2\na: 3\n", "error: duplicate key 'a'\n  --> a.yaml:3:1"},
        Refused{"FirstOfDuplicates", "a: 1\nb: 2\na: 3\n", "first at a.yaml:1:1"},
        Refused{"DuplicatesInDuplicates", "a: 1\na: {x: 1, b: 1, b: [2], b: {c: 3, c: 4}, y: 1}\n",
                "4 errors"},
        Refused{"Tag", "a: !!binary aGk=\n", "never runs code"},
        Refused{"LocalTag", "a: !function x\n", "tag '!function'"},
        Refused{"BareTag", "a: ! x\n", "tag '!'"},
        Refused{"TaggedMap", "a: !x {b: 1}\n", "tag '!x'"},
        Refused{"Cycle", "&a [*a]\n", "an alias within what it stands for"},
        Refused{"CycleThroughAMap", "a: &x {b: [1, *x]}\n", "a.yaml:1:15"},
        Refused{"AliasOfNothing", "a: *x\n", "not valid YAML"},
        Refused{"Laughs", laughs(10, 9), "anchors and aliases stand for more than 10000 values"},
        Refused{"WideLaughs", "a: &a [" + repeated("1,", 4000) + "1]\nb: [*a, *a, *a]\n",
                "more than 10000 values"},
        Refused{"DeepAliases", ladder(40), "nested deeper than 32"},
        Refused{"MergeKey", "a: {b: 1}\n<<: {c: 1}\n", "merge key '<<'"},
        Refused{"MergeOfAnAlias", "a: &x {b: 1}\nc: {<<: *x}\n", "write extends: other.yaml"},
        Refused{"VerbatimTag", "a: !<tag:x> 1\n", "tag 'tag:x'"},
        Refused{"TagBehindAnAnchor", "a: &x !y 1\n", "tag '!y'"},
        Refused{"MapAsKey", "{a: 1}: 2\n", "a map stands as a key"},
        Refused{"SecondDocument", "a: 1\n---\nb: 2\n", "text after the end of the config"},
        Refused{"TrailingText", "[1, 2] trailing\n", "a.yaml:1:"},
        Refused{"UnclosedQuote", "a: 'x\n", "a quote that is never closed"},
        Refused{"LoneQuote", "a: '", "a quote that is never closed"},
        Refused{"LoneQuoteBeforeBlankLines", "a: \"\n\n\n", "never closed"},
        Refused{"UnclosedBracket", "a: [1, 2\n", "not valid YAML"},
        Refused{"TabIndent", "a:\n\tb: 1\n", "indented with a tab"},
        Refused{"NotUtf8", std::string("a: \xff\n"), "not UTF-8 at byte 3"},
        Refused{"Utf16",
                std::string("\xff\xfe"
                            "a\0:\0",
                            6),
                "looks like UTF-16"},
        Refused{"Utf16WithoutMark", std::string("a\0:\0", 4), "control character \\x00"},
        Refused{"Binary",
                std::string("\x7f"
                            "ELF\x02\x01\x01\0",
                            8),
                "control character \\x7f"},
        Refused{"Overlong", "a: \xc0\x80\n", "not UTF-8 at byte 3"},
        Refused{"Surrogate", "name: b\na: \xed\xa0\x80\n", "not UTF-8 at byte 11"},
        Refused{"Nul", std::string("a: 1\n\0b", 7), "control character \\x00"},
        // Yaml-cpp would stop here without a word.
        Refused{"EndOfTransmission", "a: 1\n\x04 b: 2\n", "control character \\x04"},
        Refused{"Escape", "a: \x1b]0;title\x07\n", "control character \\x1b"},
        Refused{"DeepLists", repeated("[", 100'000), "nested deeper than 32 at 1:33"},
        Refused{"DeepMaps", repeated("{a: ", 50'000), "nested deeper than 32"},
        Refused{"DeepBlocks", repeated("- ", 100'000), "nested deeper than 32"},
        Refused{"DeepQuestions", repeated("? ", 100'000), "a map stands as a key"},
        Refused{"UnclosedList", "[1, 2\n", "a bracket that is never closed"},
        Refused{"ManyValues", "[" + repeated("1,", 250'000) + "1]", "more than 200000 values"}),
    [](const auto& test) { return test.param.name; });

TEST(YamlTree, AnAliasIsACopyThatKeepsItsPlace) {
  const YamlNode d = tree("a: &x {b: &y 'q', c: [1]}\nd: *x\ne: [*y, &n , *n]\nf: *y\n");
  const YamlNode& copy = *d.find("d");
  EXPECT_EQ(copy.find("b")->text, "q");
  EXPECT_TRUE(copy.find("b")->quoted);
  EXPECT_EQ(copy.find("b")->position, (Position{1, 14})) << "behind the anchor";
  EXPECT_EQ(copy.find("c")->items.at(0).text, "1");
  EXPECT_EQ(d.find("e")->items.at(0).text, "q");
  EXPECT_EQ(d.find("e")->items.at(2).kind, YamlNode::Kind::null);
  EXPECT_EQ(d.find("f")->position, (Position{1, 14}));
}

TEST(YamlTree, ThirtyTwoLevelsAreRead) {
  EXPECT_EQ(refusal(repeated("[", 32) + repeated("]", 32)), "");
}

TEST(YamlTree, AMistakeIsShownWithItsLineAndACaret) {
  EXPECT_EQ(refusal("name: x\nname: y\n"),
            "error: duplicate key 'name'\n"
            "  --> a.yaml:2:1\n"
            "   |\n"
            " 2 | name: y\n"
            "   | ^^^^ first at a.yaml:1:1\n"
            "\n"
            "1 error in a.yaml; nothing was run");
}

TEST(YamlTree, ALongLineIsCutAroundTheCaret) {
  const std::string message = refusal("{" + repeated("k: 1, k: 2, ", 5000) + "z: 1}");
  EXPECT_THAT(message, HasSubstr("and 9949 more like these"));
  EXPECT_LT(message.size(), 30'000u);
}

TEST(YamlTree, WhatIsNotARegularFileIsRefusedAtOnce) {
  const TemporaryFolder folder;
  const auto message = [](const std::string& path) -> std::string {
    try {
      read_yaml_text(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_THAT(message(folder / "fifo"), HasSubstr("not a regular file"));
  EXPECT_THAT(message("/dev/zero"), HasSubstr("not a regular file"));
  EXPECT_THAT(message(folder / ""), HasSubstr("is a folder"));
  EXPECT_THAT(message(folder / "absent"), HasSubstr("No such file"));
  // What belongs to somebody else; root may read everything, and so becomes nobody.
  const std::string secret = folder.file("secret", "a: 1\n");
  ASSERT_EQ(chmod(secret.c_str(), 0), 0);
  ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
  const uid_t user = geteuid();
  if (user == 0) ASSERT_EQ(seteuid(65534), 0);
  const std::string found = message(secret);
  if (user == 0) ASSERT_EQ(seteuid(0), 0);
  EXPECT_THAT(found, HasSubstr("Permission denied"));
  EXPECT_THAT(message(folder.file("large", std::string(kYamlMaxBytes + 1, ' '))),
              HasSubstr("1048577 bytes, a config has at most 1048576"));
  // Two gigabytes that are not read.
  std::filesystem::resize_file(folder / "large", std::uintmax_t{1} << 31);
  EXPECT_THAT(message(folder / "large"), HasSubstr("2147483648 bytes"));
}

TEST(YamlTree, NamesOfFilesAreEscapedInMessages) {
  EXPECT_THAT([] { read_yaml_text("/absent/\x1b]0;x\x07.yaml"); },
              ::testing::ThrowsMessage<IoError>(HasSubstr("\\x1b]0;x\\x07.yaml")));
}

}  // namespace
}  // namespace longattn
