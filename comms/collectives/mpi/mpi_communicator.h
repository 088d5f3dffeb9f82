// Communicator over MPI, and MPI's life in a process.
#pragma once

#include <chrono>
#include <memory>

#include "comms/collectives/communicator.h"

namespace atl {

struct MpiOptions {
  // Longest wait without a sign of life of any other rank.
  std::chrono::milliseconds timeout{300'000};
};
// With the timeout of ATOLL_PEER_TIMEOUT_S, whole seconds in [1, 86400], where it is set.
// INVALID_ARGUMENT for anything else.
absl::StatusOr<MpiOptions> MpiOptionsFromEnvironment();

// MPI from Init to Finalize; at most one in a process, on its main thread. Without mpirun the world
// has one rank.
class MpiSession {
 public:
  static absl::StatusOr<std::unique_ptr<MpiSession>> Start(const MpiOptions& options = {});
  // Finalizes, which waits for all ranks: leave by Abort when the others may not come. Aborts by
  // itself when they do not come within the timeout.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  Communicator& world() { return *world_; }
  // Ends every rank.
  [[noreturn]] void Abort(int exit_code);

 private:
  MpiSession() = default;
  std::unique_ptr<Communicator> world_;
};

}  // namespace atl
