// Loss and accuracy of a model on a set of images.
#pragma once

#include "absl/status/statusor.h"
#include "comms/collectives/communicator.h"
#include "trainer/data/image_set.h"
#include "trainer/loop/metrics.h"
#include "trainer/model/network.h"

namespace atl::trainer {

// Called by all ranks, which share out the images. CANCELLED on all when a stop was asked for on
// one.
absl::StatusOr<Metrics> Evaluate(const Network& network, const ImageSet& images,
                                 Communicator& communicator, const LoopHooks& hooks);

}  // namespace atl::trainer
