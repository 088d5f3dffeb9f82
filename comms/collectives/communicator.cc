#include "comms/collectives/communicator.h"

#include <algorithm>

namespace atl {

absl::StatusOr<std::span<float>> Communicator::Borrow(uint64_t count) {
  auto found = std::find_if(given_back_.begin(), given_back_.end(),
                            [&](std::span<float> buffer) { return buffer.size() == count; });
  if (found == given_back_.end()) return Allocate(count);
  const std::span<float> buffer = *found;
  given_back_.erase(found);
  return buffer;
}

Shard ShardOf(uint64_t count, uint32_t rank, uint32_t ranks) {
  const uint64_t lines = (count + kShardValues - 1) / kShardValues;
  // Without lines * rank, which could overflow: whole lines for all, one more for the last ones.
  const uint64_t each = lines / ranks, more = lines % ranks;
  auto border = [&](uint64_t r) {
    const uint64_t with_more = r > ranks - more ? r - (ranks - more) : 0;
    return std::min(count, kShardValues * (each * r + with_more));
  };
  return {border(rank), border(uint64_t{rank} + 1)};
}

}  // namespace atl
