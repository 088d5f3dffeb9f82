// The step that turns a round's sum into the next model, taken by the site itself.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "federation/secagg/messages.h"
#include "federation/site/worker.h"
#include "federation/store/blob_store.h"
#include "federation/strategy/scale.h"

namespace atl::site {

struct ServerStep {
  secagg::Manifest manifest;  // of the round; checked before
  secagg::Result result;
  double server_lr = 1.0;
  strategy::ScaleRule scale_rule = strategy::ScaleRule::kClip;
};

// Sizes of the chunks of a packed vector or sum.
std::vector<uint32_t> PackedChunkBytes(const std::vector<kernels::Segment>& segments);

// From the round's model and sum, both in `blobs`, to the next model, stored there; chunk by chunk.
// Returns the next round's range (strategy::NextRange; 0 under kClip).
// INVALID_ARGUMENT when it is not the model that the result names: then nothing is kept. CANCELLED;
// the store's errors.
absl::StatusOr<double> TakeServerStep(const ServerStep& step, const store::BlobStore& blobs,
                                      const Cancellation& cancellation);

}  // namespace atl::site
