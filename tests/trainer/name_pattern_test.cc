#include "trainer/model/name_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace atl::trainer {
namespace {

using ::testing::HasSubstr;

TEST(NamePatternTest, AStarIsAnyRunOfCharacters) {
  EXPECT_TRUE(MatchesPattern("*.query", "layer.0.self.query"));
  EXPECT_TRUE(MatchesPattern("*", ""));
  EXPECT_TRUE(MatchesPattern("**a*", "a"));
  EXPECT_TRUE(MatchesPattern("a*b*c", "axxbybzc"));
  EXPECT_TRUE(MatchesPattern("fc", "fc"));
  EXPECT_FALSE(MatchesPattern("fc", "fc.weight"));
  EXPECT_FALSE(MatchesPattern("*.query", "layer.query.weight"));
  EXPECT_FALSE(MatchesPattern("a*b*c", "axxbyb"));
  EXPECT_FALSE(MatchesPattern("", "a"));
  EXPECT_FALSE(MatchesPattern("layer?0", "layer.0"));  // no other character is special
}

TEST(NamePatternTest, ManyStarsTakeNoTime) {
  const std::string name(2000, 'a');
  std::string pattern;
  for (int i = 0; i < 500; ++i) pattern += "*a";
  EXPECT_FALSE(MatchesPattern(pattern + "b", name));
  EXPECT_TRUE(MatchesPattern(pattern, name));
}

TEST(NamePatternTest, APatternThatMatchesNothingNamesWhatThereIs) {
  auto matched = MatchNames("model.frozen", {"a*", "*2"}, {"a1", "b1", "b2"});
  ASSERT_TRUE(matched.ok()) << matched.status();
  EXPECT_EQ(*matched, (std::vector<bool>{true, false, true}));
  absl::Status status = MatchNames("model.frozen", {"a*", "c*"}, {"a1", "b1"}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(), "model.frozen: 'c*' matches no name; there are a1, b1");
  status = MatchNames("k", {"x"}, std::vector<std::string>(30, "n")).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("n, n and 6 more"));
}

}  // namespace
}  // namespace atl::trainer
