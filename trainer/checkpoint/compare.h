// Whether a run may go on from a checkpoint.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "recipes/schema/recipe.h"

namespace atl::trainer {

// OK when both recipes give the same run: all of it but where results go, how often a checkpoint is
// made, how many sites and ranks it is meant for and what a site offers; and, where the run goes on
// with another number of ranks, how a global batch is made up (train.batch_size,
// train.accumulate_steps). FAILED_PRECONDITION names the keys that differ (at most five) with both
// values; INVALID_ARGUMENT when the checkpoint's cannot be read.
absl::Status SameTraining(const recipes::Recipe& recipe, const std::string& checkpoint_recipe_yaml,
                          bool same_ranks);

}  // namespace atl::trainer
