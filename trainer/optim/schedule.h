// How the learning rate changes in the course of a training.
#pragma once

#include "recipes/schema/recipe.h"

namespace atl::trainer {

// The factor of the learning rate, in [0, 1]. `progress`, in [0, 1], is the share of the whole
// training that is done (of all rounds together); what lies outside is taken as the nearer end.
// Over the first `warmup` of it the factor rises from 0 to 1 in a line; over the rest it stays
// (constant), falls to final_share in a line (linear), or by half a period of a cosine (cosine;
// Loshchilov and Hutter, 1608.03983).
double LearningRateFactor(const recipes::Schedule& schedule, double progress);

}  // namespace atl::trainer
