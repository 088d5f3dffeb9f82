// The step that turns a round's sum into the next model, taken by the site itself.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "comms/base/bytes.h"
#include "federation/secagg/messages.h"
#include "federation/site/worker.h"
#include "federation/store/blob_store.h"

namespace atl::site {

struct ServerStep {
  secagg::Manifest manifest;  // of the round; checked before
  secagg::Result result;
  double server_lr = 1.0;
};

// Sizes of the chunks of a packed vector or sum.
std::vector<uint32_t> PackedChunkBytes(const std::vector<kernels::Segment>& segments);

// From the round's model and sum, both in `blobs`, to the next model, stored there; chunk by chunk.
// INVALID_ARGUMENT when it is not the model that the result names: then nothing is kept. CANCELLED;
// the store's errors.
absl::Status TakeServerStep(const ServerStep& step, const store::BlobStore& blobs,
                            const Cancellation& cancellation);

}  // namespace atl::site
