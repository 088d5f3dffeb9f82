// Local training: some epochs of minibatch steps over this site's examples, on all its ranks.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "comms/collectives/communicator.h"
#include "recipes/schema/recipe.h"
#include "trainer/data/dataset.h"
#include "trainer/loop/metrics.h"
#include "trainer/model/network.h"

namespace atl::trainer {

struct TrainJob {
  const recipes::Train* options = nullptr;  // epochs, batch size, optimiser, seed, bucket size
  const Dataset* data = nullptr;
  std::span<const uint32_t> examples;  // this site's, the same on all its ranks
  uint32_t round = 0, site = 0;        // name the order of the examples
};

// Called by all ranks with the same arguments and networks of the same values; leaves the same
// values on all. Returns the metrics of the last epoch, as they were before each step. CANCELLED
// when a stop was asked for; ABORTED naming step and rank when a loss is not finite; both agreed by
// all ranks. Other errors may be one rank's alone.
absl::StatusOr<Metrics> TrainLocally(Network& network, const TrainJob& job,
                                     Communicator& communicator, const LoopHooks& hooks);

}  // namespace atl::trainer
