// A folder with a model: model.safetensors and config.json.
#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "recipes/schema/recipe.h"
#include "trainer/model/network.h"

namespace atl::trainer {

// Both make the folder if need be; errors name the path.

// The whole model, as other programs load it: adapters are added to the layers that they adapt.
// Where the recipe names a tokenizer's file, a copy of it is put beside (vocab.txt or
// tokenizer.model).
absl::Status WriteModelFolder(const std::filesystem::path& folder, const recipes::Recipe& recipe,
                              const DataTraits& traits, const Network& network);

// What is trained alone, in the order of the flat buffer: the first model of a federation.
absl::Status WriteTrainedFolder(const std::filesystem::path& folder, const recipes::Recipe& recipe,
                                const DataTraits& traits, const Network& network);

}  // namespace atl::trainer
