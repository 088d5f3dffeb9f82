#include "recipes/schema/values.h"

#include <gmock/gmock.h>

namespace atl::recipes {
namespace {

YamlNode Plain(const std::string& text) {
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = text;
  return node;
}

TEST(Values, Integers) {
  EXPECT_EQ(ReadInteger(Plain("12")), 12);
  EXPECT_EQ(ReadInteger(Plain("-3")), -3);
  EXPECT_EQ(ReadInteger(Plain("0")), 0);
  EXPECT_EQ(ReadInteger(Plain("64.0")), 64);
  EXPECT_EQ(ReadInteger(Plain("2e4")), 20000);
  EXPECT_EQ(ReadInteger(Plain("9223372036854775807")), 9223372036854775807);
  for (const char* text : {"", "010", "-010", "1.5", "0x10", "1_000", "1:30", "9e18", "nan", "ten",
                           "9223372036854775808", "1 2"}) {
    EXPECT_EQ(ReadInteger(Plain(text)), std::nullopt) << text;
  }
}

TEST(Values, Numbers) {
  EXPECT_EQ(ReadNumber(Plain("2e-5")), 2e-5);
  EXPECT_EQ(ReadNumber(Plain(" 1.5 ")), 1.5);
  EXPECT_EQ(ReadNumber(Plain("-.5")), -0.5);
  for (const char* text : {"", ".inf", "inf", "nan", "1e999", "0x1p3", "1,5", "--1"}) {
    EXPECT_EQ(ReadNumber(Plain(text)), std::nullopt) << text;
  }
}

TEST(Values, TextAndBooleans) {
  for (const char* text : {"true", "No", "~", "null", "5", "1e3", ""}) {
    EXPECT_EQ(ReadText(Plain(text)), std::nullopt) << text;
    YamlNode quoted = Plain(text);
    quoted.quoted = true;
    EXPECT_EQ(ReadText(quoted), text);
  }
  EXPECT_EQ(ReadText(Plain("truth")), "truth");
  EXPECT_EQ(ReadBool(Plain("Yes")), true);
  EXPECT_EQ(ReadBool(Plain("OFF")), false);
  EXPECT_EQ(ReadBool(Plain("1")), std::nullopt);
}

TEST(Values, AreWrittenForEveryReader) {
  EXPECT_EQ(FormatValue(0.05), "0.05");
  EXPECT_EQ(FormatValue(20.0), "20.0");
  EXPECT_EQ(FormatValue(1e-8), "1.0e-08");
  EXPECT_EQ(FormatValue(2.5e-5), "2.5e-05");
  EXPECT_EQ(FormatValue(1e300), "1.0e+300");
  EXPECT_EQ(FormatValue(int64_t{7}), "7");
  EXPECT_EQ(FormatValue(true), "true");
  EXPECT_EQ(FormatValue(std::vector<int64_t>{6, 16}), "[6, 16]");
  EXPECT_EQ(FormatValue(std::vector<int64_t>{}), "[]");
  EXPECT_EQ(FormatValue(std::string("atoll run task.yaml")), "atoll run task.yaml");
  for (const char* text :
       {"", "yes", "null", "5", "a: b", "a #b", "- a", "a\n", "a ", "~/x", "{a"}) {
    EXPECT_EQ(FormatValue(std::string(text))[0], '"') << text;
  }
  EXPECT_EQ(FormatValue(std::string("a\"b\\\n\x1b\u0085\u2028")),
            "\"a\\\"b\\\\\\n\\x1B\\x85\\u2028\"");
}

TEST(Values, AreShownHarmlessly) {
  EXPECT_EQ(ShowText("abc"), "abc");
  EXPECT_EQ(ShowText("a\x1b[2J"), "\"a\\x1B[2J\"");
  EXPECT_EQ(ShowText("\xff\xfe"), "\"\\uFFFD\\uFFFD\"");
  EXPECT_EQ(ShowText(std::string(100, 'x')), std::string(60, 'x') + "...");
  EXPECT_EQ(ShowText("aé", 2), "a...");  // not half a character
  EXPECT_EQ(Show(ParseYaml("[1, [a, b], {c: d}]").root), "[1, [a, b], a mapping]");
}

TEST(Values, PlainTextIsUtf8WithoutControls) {
  EXPECT_TRUE(IsPlainText("é 界 😀"));
  for (const char* text : {"\n", "\x7f", "\u0085", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                           "\xe7\x95", "\x80"}) {
    EXPECT_FALSE(IsPlainText(text));
  }
}

TEST(Values, Nearest) {
  const std::vector<std::string> keys = {"rounds", "cohort", "lr", "weight_max", "weighting"};
  EXPECT_EQ(Nearest("round", keys), "rounds");
  EXPECT_EQ(Nearest("ruonds", keys), "rounds");
  EXPECT_EQ(Nearest("Rounds", keys), "rounds");
  EXPECT_EQ(Nearest("l", keys), "lr");
  EXPECT_EQ(Nearest("weightmax", keys), "weight_max");
  EXPECT_EQ(Nearest("epochs", keys), "");
  EXPECT_EQ(Nearest("", keys), "");
  EXPECT_EQ(Nearest(std::string(10000, 'x'), keys), "");
}

TEST(Values, Secrets) {
  EXPECT_TRUE(HasSecret("a {{secret.B}}"));
  EXPECT_TRUE(HasSecret("{{secrets.B}}"));
  EXPECT_FALSE(HasSecret("{{other}} secret.B"));
}

TEST(YamlTree, KeepsLinesAndQuotes) {
  const YamlResult result = ParseYaml("a: 'x'\nb:\n  - 5\n  - |\n    text\nc: !!str 5\nd: ~\ne:\n");
  ASSERT_TRUE(result.ok) << result.error;
  ASSERT_EQ(result.root.entries.size(), 5u);
  EXPECT_TRUE(result.root.Find("a")->quoted);
  EXPECT_EQ(result.root.entries[1].line, 2);
  EXPECT_FALSE(result.root.Find("b")->items[0].quoted);
  EXPECT_EQ(result.root.Find("b")->items[0].line, 3);
  EXPECT_TRUE(result.root.Find("b")->items[1].quoted);
  EXPECT_TRUE(result.root.Find("c")->quoted);
  EXPECT_TRUE(result.root.Find("d")->IsNull());
  EXPECT_TRUE(result.root.Find("e")->IsNull());
  EXPECT_EQ(result.root.Find("f"), nullptr);
}

TEST(YamlTree, LimitsAreExact) {
  const YamlLimits limits{.depth_max = 3, .nodes_max = 10, .bytes_max = 20};
  EXPECT_TRUE(ParseYaml("[[[1]]]", limits).ok);
  EXPECT_FALSE(ParseYaml("[[[[1]]]]", limits).ok);
  EXPECT_TRUE(ParseYaml("[1, 2, 3, 4, 5, 6, 7, 8, 9]", limits).ok);
  EXPECT_FALSE(ParseYaml("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", limits).ok);
  EXPECT_TRUE(ParseYaml("'" + std::string(20, 'x') + "'", limits).ok);
  EXPECT_FALSE(ParseYaml("'" + std::string(21, 'x') + "'", limits).ok);
}

}  // namespace
}  // namespace atl::recipes
