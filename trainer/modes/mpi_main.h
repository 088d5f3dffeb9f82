// How a mode on several ranks starts and ends.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "comms/collectives/communicator.h"

namespace atl::trainer {

// Starts MPI, runs body on this rank, ends MPI. An error that all ranks share is printed by rank 0
// and all end in order; one of this rank alone is printed here and ends all ranks. Returns the exit
// code: 0, kExitStopped (stop_signal.h) for a shared CANCELLED, else 1.
int RunOnRanks(const std::function<absl::Status(Communicator&)>& body);

}  // namespace atl::trainer
