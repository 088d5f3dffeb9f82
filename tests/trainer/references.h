// Cases of references/models: what PyTorch and transformers made of small models.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "trainer/model/body.h"

namespace atl::trainer {

std::filesystem::path ReferenceFolder();
nlohmann::json ReadReference(const std::string& name);

recipes::Recipe RecipeOf(const nlohmann::json& reference);
DataTraits TraitsOfReference(const nlohmann::json& reference);
Batch BatchOf(const nlohmann::json& reference);

// float32 [count] in [-1, 1): a hash of the index and `phase`.
at::Tensor Noise(const std::vector<int64_t>& shape, uint64_t phase);
// Sets parameters by models.py's formula: those named, or all where `names` is empty.
void FillByFormula(const std::vector<NamedTensor>& parameters,
                   const std::vector<std::string>& names);
// The body of a reference, with the weights that the reference was made with.
std::unique_ptr<Body> BodyOf(const nlohmann::json& reference);

}  // namespace atl::trainer
