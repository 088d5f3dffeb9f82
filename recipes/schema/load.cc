#include "recipes/schema/load.h"

#include "absl/strings/str_cat.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "recipes/schema/loader.h"

namespace atl::recipes {

absl::StatusOr<Recipe> RecipeOf(LoadResult result) {
  if (result.problems.empty()) return std::move(result.recipe);
  std::string text;
  for (const Problem& problem : result.problems) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", problem.Text());
  }
  return absl::InvalidArgumentError(text);
}

std::string Problem::Text() const {
  return line > 0 ? absl::StrCat(file, ":", line, ": ", message)
                  : absl::StrCat(file, ": ", message);
}

LoadResult LoadRecipeText(std::string_view text, const std::string& file_name,
                          const std::vector<std::string>& overrides) {
  Loader loader(file_name);
  loader.ReadFileText(text);
  for (const std::string& override_text : overrides) loader.ReadOverride(override_text);
  return loader.Finish();
}

absl::StatusOr<LoadResult> LoadRecipeFile(const std::filesystem::path& path,
                                          const std::vector<std::string>& overrides) {
  ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, ReadFile(path, kMaxRecipeBytes));
  return LoadRecipeText(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
                        path.string(), overrides);
}

absl::StatusOr<Recipe> LoadRecipe(const std::filesystem::path& path,
                                  const std::vector<std::string>& overrides) {
  ATOLL_ASSIGN_OR_RETURN(LoadResult result, LoadRecipeFile(path, overrides));
  return RecipeOf(std::move(result));
}

absl::StatusOr<Recipe> ParseRecipe(std::string_view text, const std::string& file_name) {
  return RecipeOf(LoadRecipeText(text, file_name));
}

}  // namespace atl::recipes
