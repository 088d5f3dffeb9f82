// Rules between properties, for what no single bound can say.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "recipes/schema/recipe.h"

namespace atl::recipes {

struct Check {
  // The first is what the message blames; a check whose keys have errors of their own is left out.
  std::vector<std::string> keys;
  std::string doc;  // the rule, for docs/recipe.md
  std::function<std::string(const Recipe&)>
      broken;  // "" when kept, else the message behind the key
};

const std::vector<Check>& Checks();

}  // namespace atl::recipes
