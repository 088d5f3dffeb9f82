// Every row of the table that properties.h gives out.
#pragma once

#include <vector>

#include "recipes/schema/properties.h"

namespace atl::recipes {

std::vector<Property> PropertyTable();

}  // namespace atl::recipes
