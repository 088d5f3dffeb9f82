// Recipes and their properties as text: for `atoll recipe check`, `atoll recipe explain` and
// docs/recipe.md.
#pragma once

#include <string>

#include "recipes/schema/load.h"

namespace atl::recipes {

// One line a problem, then one a note ("note: ..."), then the verdict: "recipe.yaml: no problems"
// or "3 problems". Ends with a newline.
std::string CheckText(const LoadResult& result, const std::string& file_name);

// The resolved recipe as an aligned table, one line a property: key, value, source, doc. Then the
// notes.
std::string ExplainText(const LoadResult& result);

// docs/recipe.md.
std::string PropertiesMarkdown();

}  // namespace atl::recipes
