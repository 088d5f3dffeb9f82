// Damaged recipes: whatever the bytes, reading ends with a recipe or with problems, and what it
// accepts comes back.
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "recipes/schema/explain.h"
#include "recipes/schema/load.h"
#include "recipes/schema/properties.h"
#include "recipes/schema/yaml_tree.h"
#include "tests/recipes/support.h"

namespace atl::recipes {
namespace {

// ATOLL_TEST_SEED replays one; else the same in each run, so that a failure is not a matter of
// luck.
uint64_t Seed() {
  const char* given = std::getenv("ATOLL_TEST_SEED");
  return given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
}

// Returns whether it was accepted.
bool ReadAll(const std::string& text, const std::vector<std::string>& overrides) {
  const LoadResult result = LoadRecipeText(text, "r.yaml", overrides);
  for (const Problem& problem : result.problems) {
    EXPECT_LT(problem.Text().size(), 2000u);
    for (unsigned char c : problem.Text()) EXPECT_GE(c, 0x20) << "a control character in a message";
  }
  EXPECT_FALSE(CheckText(result, "r.yaml").empty());
  EXPECT_FALSE(ExplainText(result).empty());
  if (!result.problems.empty()) return false;
  const absl::StatusOr<Recipe> again = ParseRecipe(ToYaml(result.recipe), "again.yaml");
  EXPECT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(!again.ok() || *again == result.recipe)
      << ToYaml(result.recipe) << (again.ok() ? ToYaml(*again) : "");
  return true;
}

class Fuzz : public testing::Test {
 protected:
  void SetUp() override {
    std::cout << "seed " << Seed() << ", replay with ATOLL_TEST_SEED=" << Seed() << "\n";
    for (const std::string& path : CatalogFiles()) corpus_.push_back(Slurp(path));
    corpus_.push_back(
        "task: {name: n, run: r, sweeps: {sweep_config: {train.lr: [1, 2]}}, envs: {A: &a x, B: "
        "*a},\n"
        "  parameters: {site.count: 3, train.lr: {type: float, default: \"2e-5\", min: 0}}}\n");
  }

  uint64_t Below(uint64_t bound) { return random_() % bound; }
  const std::string& Any(const std::vector<std::string>& list) { return list[Below(list.size())]; }

  std::mt19937_64 random_{Seed()};
  std::vector<std::string> corpus_;
};

TEST_F(Fuzz, Bytes) {
  static const std::vector<std::string> kTokens = {
      "{",         "}",    "[",    "]",      ":",  ": ",          "- ",    "#",  "&a ",  "*a",
      "!!str ",    "!x ",  "|",    ">",      "'",  "\"",          "\n",    "\t", "---",  "...",
      "? ",        "<<",   "%Y ",  "{{",     "}}", ",",           "~",     "\\", "\x04", "\r",
      "  ",        "\xff", "\xc3", "\u2028", "@",  "`",           "1e999", "-",  "null", "\"\\x\"",
      "\"\\u12\"", "|9\n", "!<",   "&",      "*",  "\xef\xbb\xbf"};
  int accepted = 0;
  for (int trial = 0; trial < 6000; ++trial) {
    std::string text = Any(corpus_);
    for (uint64_t edits = 1 + Below(5); edits > 0; --edits) {
      const size_t at = Below(text.size() + 1);
      switch (Below(5)) {
        case 0:
          text.insert(at, 1, static_cast<char>(Below(256)));
          break;
        case 1:
          text.insert(at, Any(kTokens));
          break;
        case 2:
          text.erase(at, 1 + Below(20));
          break;
        case 3:
          if (at < text.size()) text[at] = static_cast<char>(Below(256));
          break;
        case 4: {
          const std::string piece = text.substr(at, Below(60));
          text.insert(Below(text.size() + 1), piece);
          break;
        }
      }
      if (text.empty()) text = "a";
    }
    SCOPED_TRACE(testing::Message() << "trial " << trial);
    accepted += ReadAll(text, {});
    if (HasFailure()) break;
  }
  // Comments take most of a recipe's bytes, so that many edits do no harm; and not all may be
  // harmless.
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 5900);
}

TEST_F(Fuzz, Structure) {
  static const std::vector<std::string> kValues = {"-1",
                                                   "0",
                                                   "1",
                                                   "3",
                                                   "1e9",
                                                   "[]",
                                                   "[6, 16]",
                                                   "{a: 1}",
                                                   "{default: 3}",
                                                   "~",
                                                   "true",
                                                   "\"3\"",
                                                   "abc",
                                                   "2e-5",
                                                   "[[]]",
                                                   "{}",
                                                   "'{{secret.X}}'",
                                                   "9999999999999999999",
                                                   "|",
                                                   "cnn",
                                                   "adam",
                                                   "iid",
                                                   "labels",
                                                   "uniform",
                                                   "255",
                                                   "0.5",
                                                   "{type: int, default: [1]}",
                                                   "!!int x"};
  int accepted = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    std::string text = "name: n\nrun: r\nparameters:\n  site.count: 4\n";
    std::vector<std::string> overrides;
    for (uint64_t n = 1 + Below(4); n > 0; --n) {
      const Property& property = Properties()[Below(Properties().size())];
      const std::string indent = property.place == Place::kRoot ? "" : "  ";
      std::string key = property.key;
      if (Below(10) == 0) key.erase(Below(key.size()), 1);
      if (Below(4) == 0) {
        overrides.push_back(key + "=" + Any(kValues));
      } else if (property.place == Place::kRoot) {
        text = key + ": " + Any(kValues) + "\n" + text;
      } else {
        text += indent + key + ": " + Any(kValues) + "\n";
      }
    }
    SCOPED_TRACE(testing::Message() << "trial " << trial << "\n" << text);
    accepted += ReadAll(text, overrides);
    if (HasFailure()) break;
  }
  EXPECT_GT(accepted, 50);
  EXPECT_LT(accepted, 2950);
}

TEST_F(Fuzz, LargeTextsEndSoon) {
  const auto start = std::chrono::steady_clock::now();
  for (const char* piece :
       {"[",   "{", "- ",   "? ",       "a: ",   "'",     "\"",     "&a ",   "*a ",
        "! ",  "#", "\n",   "a\n",      ": ",    "{a: [", "|\n",    "\t",    "a: b\n",
        "x, ", "%", "\x04", "\xff\xfe", "a #\n", "[a, ",  "\"\\\n", "---\n", "a:\n "}) {
    std::string text = "name: ";
    while (text.size() + std::string(piece).size() <= kMaxRecipeBytes) text += piece;
    LoadRecipeText(text, "r.yaml");
  }
  const auto seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(seconds, 90);
}

}  // namespace
}  // namespace atl::recipes
