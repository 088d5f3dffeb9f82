// One rank's failure is every rank's failure.
#pragma once

#include "absl/status/status.h"
#include "comms/collectives/communicator.h"

namespace atl::trainer {

// Called by all ranks after something that may have failed on some of them. OK when all were OK;
// else the status of the lowest rank that failed, with its rank in front unless it is 0, the same
// on every rank.
absl::Status Agree(Communicator& communicator, const absl::Status& mine);

// Marks an error that every rank has come to by itself, from the same data.
absl::Status Alike(absl::Status status);

// Whether a status came out of Agree or Alike: all ranks have it, so one of them may report it for
// all, and they end in order. With any other error a rank must end the others too.
bool IsAgreed(const absl::Status& status);

}  // namespace atl::trainer
