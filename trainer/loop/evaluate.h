// Loss and accuracy of a model on a data set.
#pragma once

#include "absl/status/statusor.h"
#include "comms/collectives/communicator.h"
#include "recipes/schema/recipe.h"
#include "trainer/data/dataset.h"
#include "trainer/loop/metrics.h"
#include "trainer/model/network.h"

namespace atl::trainer {

// Called by all ranks, which share out the examples. CANCELLED on all when a stop was asked for on
// one.
absl::StatusOr<Metrics> Evaluate(Network& network, const Dataset& data,
                                 recipes::Precision precision, Communicator& communicator,
                                 const LoopHooks& hooks);

}  // namespace atl::trainer
