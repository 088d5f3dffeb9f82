#include <unistd.h>

#include <cstdlib>

#include "comms/base/process.h"
#include "trainer/modes/modes.h"
#include "trainer/modes/mpi_main.h"
#include "trainer/serve/session.h"

namespace atl::trainer {

int RunServe(const ServeOptions& options) {
  DieWithParent(getppid());
  // Stream keys pass through this memory. Without dumps the kernel also forbids ranks to read each
  // other's memory, which Open MPI would otherwise do for large messages.
  setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
  ForbidCoreDumps();
  return RunOnRanks([&](Communicator& world) { return Session(world).Run(options.link); });
}

}  // namespace atl::trainer
