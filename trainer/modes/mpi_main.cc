#include "trainer/modes/mpi_main.h"

#include <cstdio>
#include <string>

#include "comms/base/status.h"
#include "comms/collectives/mpi/mpi_communicator.h"
#include "trainer/modes/stop_signal.h"
#include "trainer/parallel/agree.h"

namespace atl::trainer {
namespace {

void Print(const absl::Status& status, const Communicator& world, bool alone) {
  std::string where = alone && world.size() > 1 ? absl::StrCat("rank ", world.rank(), ": ") : "";
  std::fprintf(stderr, "atoll-trainer: %s%s\n", where.c_str(),
               std::string(status.message()).c_str());
}

}  // namespace

int RunOnRanks(const std::function<absl::Status(Communicator&)>& body) {
  absl::StatusOr<std::unique_ptr<MpiSession>> session;
  if (auto options = MpiOptionsFromEnvironment(); options.ok()) {
    session = MpiSession::Start(*options);
  } else {
    session = options.status();
  }
  if (!session.ok()) {
    std::fprintf(stderr, "atoll-trainer: %s\n", ToString(session.status()).c_str());
    return 1;
  }
  Communicator& world = (*session)->world();
  absl::Status status = body(world);
  if (status.ok()) return 0;
  bool shared = IsAgreed(status) || world.size() == 1;
  if (world.rank() == 0 || !shared) Print(status, world, !shared);
  if (!shared) (*session)->Abort(1);
  return absl::IsCancelled(status) ? kExitStopped : 1;
}

}  // namespace atl::trainer
