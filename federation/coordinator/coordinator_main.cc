#include "federation/coordinator/coordinator_main.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <ctime>

#include "absl/strings/str_cat.h"
#include "comms/base/files.h"
#include "comms/base/log.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"
#include "federation/coordinator/server.h"
#include "nlohmann/json.hpp"

namespace atl::coordinator {
namespace {

// Blocks the signals that end a coordinator in this thread and those it starts, as long as it
// lives.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  }
  ~StopSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  // The signal that came, or 0 after timeout_ms.
  int Wait(int timeout_ms) {
    const timespec timeout{.tv_sec = timeout_ms / 1000,
                           .tv_nsec = (timeout_ms % 1000) * 1'000'000L};
    const int signal = sigtimedwait(&signals_, nullptr, &timeout);
    return signal > 0 ? signal : 0;
  }

 private:
  sigset_t signals_, before_;
};

absl::StatusOr<CoordinatorParts> OpenParts(const CoordinatorMainOptions& options) {
  ATOLL_ASSIGN_OR_RETURN(secagg::Roster roster,
                         secagg::Roster::Load(options.roster_file, nullptr, OpensslSuite()));
  ATOLL_RETURN_IF_ERROR(MakeFolder(options.data_folder, 0700));
  // First, since it refuses a second coordinator on the same folder.
  ATOLL_ASSIGN_OR_RETURN(auto log, store::OpenEventLog(options.data_folder));
  ATOLL_ASSIGN_OR_RETURN(auto blobs, store::BlobStore::Open(options.data_folder / "blobs"));
  ATOLL_ASSIGN_OR_RETURN(auto vectors, store::VectorStore::Open(options.data_folder / "staged"));
  return CoordinatorParts{.roster = std::move(roster),
                          .suite = &OpensslSuite(),
                          .random = &SystemRandom(),
                          .clock = &RealClock(),
                          .log = std::move(log),
                          .blobs = std::move(blobs),
                          .vectors = std::move(vectors),
                          .reconnect_grace_s = options.reconnect_grace_s,
                          .cohort_wait_s = options.cohort_wait_s,
                          .sum_threads = options.sum_threads};
}

}  // namespace

absl::Status RunCoordinator(const CoordinatorMainOptions& options) {
  StopSignals signals;
  ATOLL_RETURN_IF_ERROR(rpc::CheckAddress(options.listen));
  ATOLL_RETURN_IF_ERROR(rpc::ServerCredentialsFor(options.listen).status());
  ATOLL_ASSIGN_OR_RETURN(CoordinatorParts parts, OpenParts(options));
  ATOLL_ASSIGN_OR_RETURN(auto coordinator, Coordinator::Start(std::move(parts)));
  Service service(*coordinator);
  ATOLL_ASSIGN_OR_RETURN(auto server, Server::Listen(options.listen, service));
  if (!options.ready_file.empty()) {
    const nlohmann::json ready = {{"address", server->address()}, {"pid", getpid()}};
    ATOLL_RETURN_IF_ERROR(WriteFileAtomic(options.ready_file, AsBytes(ready.dump() + "\n")));
  }
  spdlog::info("coordinator listens on {}", server->address());
  int signal = 0;
  while (signal == 0 && coordinator->health().ok()) signal = signals.Wait(200);
  if (signal != 0) spdlog::info("stops on {}", signal == SIGINT ? "SIGINT" : "SIGTERM");
  coordinator->Stop();
  server->Stop();
  return coordinator->health();
}

}  // namespace atl::coordinator
