#include <cstdio>
#include <optional>

#include "federation/cli/commands.h"
#include "recipes/schema/explain.h"
#include "recipes/schema/load.h"

namespace atl::cli {
namespace {

// Nothing, after an error line, when the file cannot be read.
std::optional<recipes::LoadResult> Load(const std::string& recipe,
                                        const std::vector<std::string>& overrides) {
  auto result = recipes::LoadRecipeFile(recipe, overrides);
  if (result.ok()) return *std::move(result);
  std::fprintf(stderr, "atoll recipe: %s\n", std::string(result.status().message()).c_str());
  return std::nullopt;
}

}  // namespace

int RecipeCheck(const std::string& recipe, const std::vector<std::string>& overrides) {
  const auto result = Load(recipe, overrides);
  if (!result) return 2;
  std::FILE* out = result->problems.empty() ? stdout : stderr;
  std::fputs(recipes::CheckText(*result, recipe).c_str(), out);
  return result->problems.empty() ? 0 : 2;
}

int RecipeExplain(const std::string& recipe, const std::vector<std::string>& overrides) {
  const auto result = Load(recipe, overrides);
  if (!result) return 2;
  if (!result->problems.empty()) {
    std::fputs(recipes::CheckText(*result, recipe).c_str(), stderr);
    return 2;
  }
  std::fputs(recipes::ExplainText(*result).c_str(), stdout);
  return 0;
}

}  // namespace atl::cli
