// The sum of a round and the next model, chunk by chunk.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/statusor.h"
#include "federation/coordinator/coordinator_main.h"
#include "federation/coordinator/early_sums.h"
#include "federation/coordinator/events.h"
#include "federation/store/blob_store.h"
#include "federation/store/vector_store.h"

namespace atl::coordinator {

// How many threads sum where `wanted` are asked for (0: as many as the machine has cores): 1 to
// kSumThreadsMax.
uint32_t SumThreads(uint32_t wanted);

// For each chunk of the vector: adds up what the survivors sent (`early`, where there is one for
// their group, in place of the vectors that it holds; empty: none for any), takes the masks off,
// writes the packed chunk of the sum (in a split run of each group's sum and of the total); of the
// update's chunks makes the next model's. Chunks are made by SumThreads(threads) threads and
// written in order, so the blobs are the same for any number of them. Memory is that of a few
// chunks a thread (at most 18 MiB), and of one or two for each group, whatever the number of sites
// and coordinates. Reads and writes disk: not for the event loop's thread. CANCELLED when `stopped`
// turns true, within the time of one chunk; INVALID_ARGUMENT when the sum makes no sense (weights
// out of range, a model of another size); what the stores give.
absl::StatusOr<SumOutcome> SumRound(const StartSum& task, const PartialSums& early,
                                    const store::BlobStore& blobs, store::VectorStore& vectors,
                                    uint32_t threads, const std::atomic<bool>& stopped);

}  // namespace atl::coordinator
