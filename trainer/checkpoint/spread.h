// The state of an optimiser between one rank, which reads and writes files, and all, of which each
// owns a part.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "comms/collectives/communicator.h"

namespace atl::trainer {

// Ranges of `total` values that each rank owns: parts[r] are rank r's, ascending. Either they cover
// all values once, or every rank owns all.
using Ownership = std::vector<std::vector<Shard>>;

// Every rank brings the values of its ranges, one after the other; rank 0 gets all `total` in their
// places (resized). On other ranks `all` stays as it is. Moves at most 64 MiB at a time. Called by
// all ranks; errors are the communicator's.
absl::Status CollectOwned(std::span<const float> mine, const Ownership& ownership, uint64_t total,
                          Communicator& communicator, std::vector<float>& all);

// The other way: `all`, which rank 0 brings (the others an empty span), has `total` values; each
// rank gets those of its ranges. mine.size() is their number.
absl::Status SpreadOwned(std::span<const float> all, const std::vector<Shard>& owned,
                         uint64_t total, Communicator& communicator, std::span<float> mine);

}  // namespace atl::trainer
