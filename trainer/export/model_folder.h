// A folder with a model: model.safetensors and config.json.
#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "recipes/schema/recipe.h"
#include "trainer/model/network.h"

namespace atl::trainer {

// Makes the folder if need be. Errors name the path.
absl::Status WriteModelFolder(const std::filesystem::path& folder, const recipes::Recipe& recipe,
                              const DataTraits& traits, const Network& network);

}  // namespace atl::trainer
