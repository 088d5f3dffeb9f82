#include "comms/collectives/communicator.h"

#include <algorithm>

namespace atl {

Shard ShardOf(uint64_t count, uint32_t rank, uint32_t ranks) {
  constexpr uint64_t kLine = 16;
  const uint64_t lines = (count + kLine - 1) / kLine;
  auto border = [&](uint64_t r) { return std::min(count, lines * r / ranks * kLine); };
  return {border(rank), border(uint64_t{rank} + 1)};
}

}  // namespace atl
