// Local training: some epochs of minibatch steps over this site's examples, on all its ranks.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "comms/collectives/communicator.h"
#include "recipes/schema/recipe.h"
#include "trainer/checkpoint/checkpointer.h"
#include "trainer/data/dataset.h"
#include "trainer/loop/metrics.h"
#include "trainer/model/network.h"

namespace atl::trainer {

struct TrainJob {
  const recipes::Train* options = nullptr;  // epochs, batch size, optimiser, seed, bucket size
  recipes::Precision precision = recipes::Precision::kFp32;
  const Dataset* data = nullptr;
  std::span<const uint32_t> examples;      // this site's, the same on all its ranks
  uint32_t round = 0, site = 0;            // name the order of the examples
  uint32_t rounds_before = 0, rounds = 1;  // of the whole training, over which the schedule runs
  // Where the network computes when the communicator is on_device().
  at::Device device = at::kCPU;
  // Where the training goes on from, and where it saves; null: it starts from the beginning, and
  // saves nothing.
  Checkpointer* checkpointer = nullptr;
};

// Called by all ranks with the same arguments and networks of the same values; leaves the same
// values on all. Returns the metrics of the last epoch, as they were before each step. CANCELLED
// when a stop was asked for, at the end of a step, with a checkpoint under way if there is a
// checkpointer; ABORTED naming step and rank when a loss is not finite; both agreed by all ranks.
// Other errors may be one rank's alone.
//
// A step's gradient is that of the mean loss over its global batch: ranks * batch_size *
// accumulate_steps examples, or what is left of the epoch. Its learning rate is the schedule's at
// the middle of these examples, so it depends on them and not on the number of ranks.
absl::StatusOr<Metrics> TrainLocally(Network& network, const TrainJob& job,
                                     Communicator& communicator, const LoopHooks& hooks);

}  // namespace atl::trainer
