// One rank under mpirun, for mpi_test: does what its argument says, prints one line on rank 0.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "comms/base/status.h"
#include "comms/collectives/mpi/mpi_communicator.h"
#include "tests/collectives/properties.h"

namespace {

using namespace atl;  // NOLINT: a program of one file

// The last rank does this to itself once it has taken part in some sums; the first reports how its
// wait ends.
absl::Status WaitForOneThat(Communicator& world, int signal, bool in_mpi) {
  ATOLL_ASSIGN_OR_RETURN(std::span<float> values, world.Allocate(1'000'000));
  for (int i = 0; i < 3; ++i) {
    ATOLL_ASSIGN_OR_RETURN(auto work, world.StartAllReduceSum(values));
    ATOLL_RETURN_IF_ERROR(work->Wait());
  }
  if (world.rank() == world.size() - 1) kill(getpid(), signal);
  if (in_mpi) return world.Barrier();
  ATOLL_ASSIGN_OR_RETURN(auto work, world.StartAllReduceSum(values));
  return work->Wait();
}

}  // namespace

#ifdef ATOLL_SANITIZE_ADDRESS
// As in the trainer: what Open MPI leaks has no name to suppress it by.
extern "C" int __lsan_is_turned_off() { return 1; }
#endif

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const std::string mode = argv[1];
  auto session = MpiSession::Start({.timeout = std::chrono::milliseconds(std::atoi(argv[2]))});
  if (!session.ok()) {
    std::printf("start: %s\n", ToString(session.status()).c_str());
    return 1;
  }
  Communicator& world = (*session)->world();
  std::string result;
  if (mode == "properties") {
    result = CheckCollectives(world, std::strtoull(argv[3], nullptr, 10));
    if (result.empty()) result = "right: " + world.name();
  } else {
    const bool kills = mode == "kill" || mode == "kill-mpi";
    const bool in_mpi = mode == "kill-mpi" || mode == "stop-mpi";
    result = ToString(WaitForOneThat(world, kills ? SIGKILL : SIGSTOP, in_mpi));
  }
  if (world.rank() == 0 || mode == "properties") {
    std::printf("%s\n", result.c_str());
    std::fflush(stdout);
  }
  if (mode == "properties") return result.rfind("right", 0) == 0 ? 0 : 1;
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // mpirun passes the line on
  (*session)->Abort(3);
}
