// What the tests of recipes share.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "recipes/schema/load.h"

namespace atl::recipes {

// The root of the source tree, which ctest names.
inline std::string SourceFolder() {
  const char* folder = std::getenv("ATOLL_SOURCE_DIR");
  return folder == nullptr ? "." : folder;
}

inline std::string Slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::vector<std::string> CatalogFiles() {
  std::vector<std::string> files;
  for (const char* name : {"fashion-mnist", "fashion-mnist-central", "quick"}) {
    files.push_back(SourceFolder() + "/recipes/catalog/" + name + ".yaml");
  }
  return files;
}

// A right recipe for four sites; what is added begins on line 5, inside `parameters`.
inline std::string WithParameters(const std::string& parameters) {
  return "name: n\nrun: r\nparameters:\n  site.count: 4\n" + parameters;
}

inline std::vector<std::string> Texts(const std::vector<Problem>& problems) {
  std::vector<std::string> texts;
  for (const Problem& problem : problems) texts.push_back(problem.Text());
  return texts;
}

}  // namespace atl::recipes
