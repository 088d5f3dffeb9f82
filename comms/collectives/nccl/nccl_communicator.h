// Communicator over NCCL: floats on the GPU, all else through another communicator of the same
// ranks.
#pragma once

#include <memory>

#include "comms/collectives/communicator.h"
#include "comms/collectives/nccl/nccl_group.h"

namespace atl {

// Called by all ranks of `host` (MPI's, say), each with a GPU of its own; an error on one rank is
// one on each. Sums, scatters and gathers of floats run on the GPUs; bytes, doubles and barriers go
// through `host`. UNAVAILABLE or DEADLINE_EXCEEDED when a rank fails or hangs: see NcclGroup; then
// the communicator can still move bytes but no floats. Start... may be called from another thread
// than the one that made it (torch's backward pass has one for each device), one at a time.
//
// `api` and `host` outlive it.
absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const AtollGpuApi& api,
                                                                     Communicator& host,
                                                                     NcclGroupOptions options);

absl::Status ToAbsl(const GpuStatus& status);

}  // namespace atl
