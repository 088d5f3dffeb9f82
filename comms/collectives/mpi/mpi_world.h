// The communicator over a world of MPI; MpiSession makes it.
#pragma once

#include <mpi.h>

#include <chrono>
#include <memory>

#include "comms/collectives/communicator.h"

namespace atl {

// The ranks of `world`, which it does not own; all of them call this. `node`: its ranks on this
// machine, in the same order. Where these are all ranks, floats in buffers from Allocate are summed
// by the ranks themselves in a shared window; everything else goes through MPI.
//
// timeout: without a sign of life of the other ranks (see shared::Watch). Between machines only
// MPI's launcher sees whether a rank lives; there it is the longest an operation may take. A
// broadcast waits for any time as long as the ranks of this machine are not gone or stopped, since
// rank 0 may have nothing to say for hours.
absl::StatusOr<std::unique_ptr<Communicator>> MakeMpiCommunicator(
    MPI_Comm world, MPI_Comm node, std::chrono::milliseconds timeout);

}  // namespace atl
