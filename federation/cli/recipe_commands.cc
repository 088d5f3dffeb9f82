#include <cstdio>

#include "comms/base/files.h"
#include "federation/cli/commands.h"
#include "recipes/schema/explain.h"
#include "recipes/schema/load.h"

namespace atl::cli {
namespace {

constexpr uint64_t kMaxRecipeBytes = 1 << 20;

// False after an error line when the file cannot be read.
bool Load(const std::string& recipe, const std::vector<std::string>& overrides,
          recipes::LoadResult& result) {
  auto bytes = ReadFile(recipe, kMaxRecipeBytes);
  if (!bytes.ok()) {
    std::fprintf(stderr, "atoll recipe: %s\n", std::string(bytes.status().message()).c_str());
    return false;
  }
  result = recipes::LoadRecipeText(AsText(*bytes), recipe, overrides);
  return true;
}

}  // namespace

int RecipeCheck(const std::string& recipe, const std::vector<std::string>& overrides) {
  recipes::LoadResult result;
  if (!Load(recipe, overrides, result)) return 2;
  std::FILE* out = result.problems.empty() ? stdout : stderr;
  std::fputs(recipes::CheckText(result, recipe).c_str(), out);
  return result.problems.empty() ? 0 : 2;
}

int RecipeExplain(const std::string& recipe, const std::vector<std::string>& overrides) {
  recipes::LoadResult result;
  if (!Load(recipe, overrides, result)) return 2;
  if (!result.problems.empty()) {
    std::fputs(recipes::CheckText(result, recipe).c_str(), stderr);
    return 2;
  }
  std::fputs(recipes::ExplainText(result).c_str(), stdout);
  return 0;
}

}  // namespace atl::cli
