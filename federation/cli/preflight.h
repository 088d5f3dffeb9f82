// What can be known to fail before anything is started, with what to do about it.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"

namespace atl::cli {

// The atoll-trainer beside this program. NOT_FOUND with how to build it.
absl::StatusOr<std::filesystem::path> FindTrainer();
// This program's own path.
std::filesystem::path OwnPath();

// Trainers run in folders of their own: files that the recipe names are found from this one.
void MakePathsAbsolute(recipes::Recipe& recipe);

// mpirun in PATH, what the recipe names there. NOT_FOUND with what to install or set.
// INVALID_ARGUMENT for more sites than one machine is asked to run.
absl::Status CheckMachine(const recipes::Recipe& recipe);

// Makes `parent`/<name>-<id>, absolute. PERMISSION_DENIED and the like name the folder and the
// reason.
absl::StatusOr<std::filesystem::path> MakeRunFolder(const std::string& parent,
                                                    const std::string& name);

}  // namespace atl::cli
