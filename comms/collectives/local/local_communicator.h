// Communicator among threads of one process, for tests and simulations.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "comms/collectives/communicator.h"

namespace atl {

struct LocalOptions {
  uint32_t ranks = 1;  // at least 1
  // Since any other rank has called an operation; threads cannot be seen computing.
  std::chrono::milliseconds timeout{300'000};
};

// One communicator a rank, each for a thread of its own. When one is destroyed, the others get
// UNAVAILABLE for what it has not taken part in. Sums run over the same code as among processes
// with a shared window; all memory of a process is shared, so spans may lie anywhere.
std::vector<std::unique_ptr<Communicator>> MakeLocalCommunicators(const LocalOptions& options);

}  // namespace atl
