// Communicator over MPI, and MPI's life in a process.
#pragma once

#include <memory>

#include "comms/collectives/communicator.h"

namespace atl {

// MPI from Init to Finalize; at most one in a process, on its main thread. Without mpirun the world
// has one rank.
class MpiSession {
 public:
  static absl::StatusOr<std::unique_ptr<MpiSession>> Start();
  // Finalizes, which waits for all ranks: leave by Abort when the others may not come.
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
