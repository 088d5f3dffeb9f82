// Reading a recipe: parse, override, validate; every problem is reported at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"

namespace atl::recipes {

inline constexpr uint64_t kMaxRecipeBytes = 1 << 20;

// One thing wrong with a recipe; `message` has key, value, bound and "did you mean".
struct Problem {
  std::string file;  // or "--set"
  int line = 0;      // from 1; 0 when it has none
  std::string message;
  std::string Text() const;  // "recipe.yaml:14: train.lr: -1 must be > 0"
};

// Where a resolved value came from.
struct Origin {
  std::string key;  // dotted, as in "train.optimizer.lr"
  std::string value;
  std::string source;  // "default", "recipe.yaml:14", "recipe.yaml:14 (override)", "--set"
};

struct LoadResult {
  Recipe recipe;                  // meaningful when problems is empty
  std::vector<Problem> problems;  // in line order, those of --set last
  std::vector<Problem> notes;     // what is right but is not acted on: sweeps, envs, ...
  std::vector<Origin> origins;    // in the order of the table of properties
};

// `overrides` are "key=value" strings of --set.
LoadResult LoadRecipeText(std::string_view text, const std::string& file_name,
                          const std::vector<std::string>& overrides = {});

// The same for a file, problems included; a Status only when the file cannot be read (NOT_FOUND,
// PERMISSION_DENIED, OUT_OF_RANGE above kMaxRecipeBytes).
absl::StatusOr<LoadResult> LoadRecipeFile(const std::filesystem::path& path,
                                          const std::vector<std::string>& overrides = {});

// The recipe, or INVALID_ARGUMENT with one line a problem.
absl::StatusOr<Recipe> RecipeOf(LoadResult result);

// NOT_FOUND / PERMISSION_DENIED for the file; INVALID_ARGUMENT with one line a problem.
absl::StatusOr<Recipe> LoadRecipe(const std::filesystem::path& path,
                                  const std::vector<std::string>& overrides = {});
absl::StatusOr<Recipe> ParseRecipe(std::string_view text, const std::string& file_name);

// The resolved recipe as a task.yaml that loads to the same Recipe; deterministic, so its SHA-256
// names the recipe.
std::string ToYaml(const Recipe& recipe);

}  // namespace atl::recipes
