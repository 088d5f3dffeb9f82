// Writes docs/recipe.md to standard output.
#include <iostream>

#include "recipes/schema/explain.h"

int main() {
  std::cout << atl::recipes::PropertiesMarkdown() << std::flush;
  return std::cout ? 0 : 1;
}
