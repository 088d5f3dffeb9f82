// The sum of a round and the next model, chunk by chunk.
#pragma once

#include <atomic>

#include "absl/status/statusor.h"
#include "federation/coordinator/events.h"
#include "federation/store/blob_store.h"
#include "federation/store/vector_store.h"

namespace atl::coordinator {

// For each chunk of the vector: adds up what the survivors sent, takes the masks off, writes the
// packed chunk of the sum; of the update's chunks makes the next model's. Memory is that of a few
// chunks, whatever the number of sites and coordinates. Reads and writes disk: not for the event
// loop's thread. CANCELLED when `stopped` turns true; INVALID_ARGUMENT when the sum makes no sense
// (weights out of range, a model of another size); what the stores give.
absl::StatusOr<SumOutcome> SumRound(const StartSum& task, const store::BlobStore& blobs,
                                    store::VectorStore& vectors, const std::atomic<bool>& stopped);

}  // namespace atl::coordinator
