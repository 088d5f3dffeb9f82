// What a run's folder is called.
#pragma once

#include <string>

namespace atl::recipes {

// "<safe name>-20261122-154301-9f3a": the name, the time (UTC) and randomness.
std::string NewRunName(const std::string& recipe_name);

}  // namespace atl::recipes
