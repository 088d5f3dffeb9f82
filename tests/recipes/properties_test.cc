// The table itself, and the texts that are made from it.
#include "recipes/schema/properties.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>

#include "recipes/schema/checks.h"
#include "recipes/schema/explain.h"
#include "tests/recipes/support.h"

namespace atl::recipes {
namespace {

using testing::HasSubstr;

TEST(Properties, EachIsWhole) {
  std::set<std::pair<Place, std::string>> keys;
  for (const Property& property : Properties()) {
    SCOPED_TRACE(property.key);
    EXPECT_TRUE(keys.emplace(property.place, property.key).second);
    for (const std::string& alias : property.aliases) {
      EXPECT_TRUE(keys.emplace(property.place, alias).second);
      EXPECT_FALSE(IsSection(property.place, alias));
    }
    EXPECT_FALSE(IsSection(property.place, property.key));
    EXPECT_FALSE(property.doc.empty());
    EXPECT_EQ(property.doc.back(), '.');
    EXPECT_FALSE(TypeText(property.type).empty());
    EXPECT_FALSE(BoundsText(property).empty());
    EXPECT_EQ(property.used_with.empty(), !property.used);
    EXPECT_EQ(static_cast<bool>(property.read), static_cast<bool>(property.write));
    if (property.type == Type::kInteger || property.type == Type::kNumber) {
      EXPECT_TRUE(std::isfinite(property.bounds.min));
      EXPECT_TRUE(std::isfinite(property.bounds.max));
      EXPECT_LT(property.bounds.min, property.bounds.max);
    }
    if (property.type == Type::kEnum) {
      EXPECT_FALSE(property.bounds.options.empty());
    }
    EXPECT_EQ(FindProperty(property.place, property.key), &property);
    if (property.IsAtolls() && !property.required) {
      EXPECT_FALSE(property.DefaultText().empty());
    }
  }
}

YamlNode NodeOf(const std::string& text) { return ParseYaml(text).root; }

TEST(Properties, DefaultsAreTheStructsAndWithinBounds) {
  for (const Property& property : Properties()) {
    if (!property.IsAtolls() || property.required) continue;
    SCOPED_TRACE(property.key);
    Value value;
    std::string why;
    ASSERT_TRUE(ReadValue(property, NodeOf(property.DefaultText()), &value, &why)) << why;
    Recipe recipe;
    property.write(recipe, value);
    EXPECT_EQ(recipe, Recipe()) << "writing the default changed the recipe";
  }
}

TEST(Properties, EachWritesAFieldOfItsOwn) {
  for (const Property& property : Properties()) {
    if (!property.IsAtolls() || property.bounds.options.size() == 1) continue;
    SCOPED_TRACE(property.key);
    const Value standard = property.read(Recipe());
    Value other;
    if (const bool* boolean = std::get_if<bool>(&standard)) other = !*boolean;
    if (const int64_t* integer = std::get_if<int64_t>(&standard)) other = *integer + 1;
    if (const double* number = std::get_if<double>(&standard)) other = *number / 2 + 0.01;
    if (std::holds_alternative<std::string>(standard)) {
      other = property.type == Type::kEnum &&
                      property.bounds.options[0] != std::get<std::string>(standard)
                  ? property.bounds.options[0]
              : property.type == Type::kEnum ? property.bounds.options[1]
                                             : std::string("other");
    }
    if (std::holds_alternative<std::vector<int64_t>>(standard)) other = std::vector<int64_t>{3, 4};
    if (std::holds_alternative<std::vector<std::string>>(standard))
      other = std::vector<std::string>{"*.query", "x"};
    Recipe recipe;
    property.write(recipe, other);
    EXPECT_EQ(property.read(recipe), other);
    for (const Property& another : Properties()) {
      if (another.IsAtolls() && &another != &property) {
        EXPECT_EQ(another.read(recipe), another.read(Recipe())) << another.key;
      }
    }
  }
}

TEST(Properties, BoundsAreSharp) {
  const auto accepts = [](const char* key, const char* text) {
    Value value;
    std::string why;
    return ReadValue(*FindProperty(Place::kParameters, key), NodeOf(text), &value, &why);
  };
  EXPECT_TRUE(accepts("privacy.secure_aggregation.value_bits", "4"));
  EXPECT_TRUE(accepts("privacy.secure_aggregation.value_bits", "32"));
  EXPECT_FALSE(accepts("privacy.secure_aggregation.value_bits", "3"));
  EXPECT_FALSE(accepts("privacy.secure_aggregation.value_bits", "33"));
  EXPECT_FALSE(accepts("train.optimizer.lr", "0"));
  EXPECT_TRUE(accepts("train.optimizer.lr", "1e-300"));
  EXPECT_TRUE(accepts("train.optimizer.lr", "1000"));
  EXPECT_FALSE(accepts("train.optimizer.lr", "1000.0000001"));
  EXPECT_TRUE(accepts("train.optimizer.momentum", "0"));
  EXPECT_FALSE(accepts("train.optimizer.momentum", "1"));
  EXPECT_TRUE(accepts("privacy.secure_aggregation.group_size_max", "3"));
  EXPECT_FALSE(accepts("privacy.secure_aggregation.group_size_max", "2"));
  EXPECT_FALSE(accepts("privacy.secure_aggregation.group_size_max", "256"));
  EXPECT_TRUE(accepts("site.count", "65536"));
  EXPECT_FALSE(accepts("site.count", "65537"));
}

TEST(Checks, NameKeysOfTheTable) {
  for (const Check& check : Checks()) {
    ASSERT_FALSE(check.keys.empty());
    EXPECT_FALSE(check.doc.empty());
    for (const std::string& key : check.keys) {
      EXPECT_NE(FindProperty(Place::kParameters, key), nullptr) << key;
    }
  }
}

TEST(Explain, SaysHowWideALaneIs) {
  const auto explain = [](const char* count, const char* bits) {
    return ExplainText(
        LoadRecipeText(WithParameters(""), "r.yaml",
                       {std::string("site.count=") + count,
                        std::string("privacy.secure_aggregation.value_bits=") + bits}));
  };
  EXPECT_THAT(
      explain("64", "10"),
      HasSubstr("lanes: a value takes 10 bits and 6 more for the sum of 64 sites: 16 on the "
                "wire, in lanes of 16 bits\n"));
  EXPECT_THAT(explain("4", "16"),
              HasSubstr("2 more for the sum of 4 sites: 18 on the wire, in lanes of 32 bits (14 "
                        "value bits fit lanes of 16)\n"));
  EXPECT_THAT(explain("65", "10"), HasSubstr("17 on the wire, in lanes of 32 bits (9 value bits"));
}

TEST(Explain, ShowsEveryProperty) {
  const LoadResult result =
      LoadRecipeText(WithParameters("  train.lr: 0.25\n  data.partition.labels: 3\n"), "d/r.yaml",
                     {"federation.rounds=3"});
  const std::string text = ExplainText(result);
  for (const Property& property : Properties()) {
    if (property.IsAtolls()) {
      EXPECT_THAT(text, HasSubstr("\n" + property.key + " ")) << text;
    }
  }
  EXPECT_THAT(text,
              testing::ContainsRegex(
                  "train\\.optimizer\\.lr +0\\.25 +r\\.yaml:5 \\(override\\) +Learning rate\\.\n"));
  EXPECT_THAT(text, testing::ContainsRegex("federation\\.rounds +3 +--set +Rounds"));
  EXPECT_THAT(text, testing::ContainsRegex("site\\.ranks +1 +default +MPI"));
  EXPECT_THAT(text, HasSubstr("d/r.yaml:6: note: data.partition.labels: has no effect here"));
}

TEST(Check, ListsProblemsAndTheVerdict) {
  const LoadResult bad =
      LoadRecipeText(WithParameters("  train.lr: 0\n  site.ranks: 0\n"), "r.yaml");
  EXPECT_EQ(CheckText(bad, "r.yaml"),
            "r.yaml:5: train.lr: 0 must be > 0 and <= 1000\n"
            "r.yaml:6: site.ranks: 0 must be a whole number from 1 to 1024\n"
            "2 problems\n");
  const LoadResult good = LoadRecipeText(WithParameters(""), "r.yaml");
  EXPECT_EQ(CheckText(good, "r.yaml"), "r.yaml: no problems\n");
}

TEST(Docs, RecipeMdIsMadeFromTheTable) {
  EXPECT_TRUE(Slurp(SourceFolder() + "/docs/recipe.md") == PropertiesMarkdown())
      << "docs/recipe.md differs from the table of properties; regenerate it:\n"
      << "  ninja -C build recipe-docs && build/bin/recipe-docs > docs/recipe.md";
}

}  // namespace
}  // namespace atl::recipes
