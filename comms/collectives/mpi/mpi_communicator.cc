#include "comms/collectives/mpi/mpi_communicator.h"

#include <mpi.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "comms/base/status.h"
#include "comms/collectives/mpi/mpi_error.h"
#include "comms/collectives/mpi/mpi_world.h"

namespace atl {

absl::StatusOr<MpiOptions> MpiOptionsFromEnvironment() {
  const char* text = std::getenv("ATOLL_PEER_TIMEOUT_S");
  if (text == nullptr) return MpiOptions{};
  constexpr int kMost = 86'400;
  const std::string_view view(text);
  int seconds = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), seconds);
  if (error != std::errc() || end != view.data() + view.size() || seconds < 1 || seconds > kMost) {
    return absl::InvalidArgumentError(absl::StrCat("ATOLL_PEER_TIMEOUT_S: \"", text,
                                                   "\" must be whole seconds in [1, ", kMost, "]"));
  }
  return MpiOptions{.timeout = std::chrono::seconds(seconds)};
}

absl::StatusOr<std::unique_ptr<MpiSession>> MpiSession::Start(const MpiOptions& options) {
  int provided = MPI_THREAD_SINGLE;
  // Other threads (the site link's reader) run beside, but none of them calls MPI.
  ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided),
                                  "MPI_Init_thread"));
  std::unique_ptr<MpiSession> session(new MpiSession);
  ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN),
                                  "MPI_Comm_set_errhandler"));
  if (provided < MPI_THREAD_FUNNELED) {
    return absl::FailedPreconditionError(
        "MPI was built without support for threads (MPI_THREAD_FUNNELED)");
  }
  MPI_Comm node;
  ATOLL_RETURN_IF_ERROR(
      MpiStatus(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node),
                "MPI_Comm_split_type"));
  ATOLL_RETURN_IF_ERROR(
      MpiStatus(MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
  ATOLL_ASSIGN_OR_RETURN(session->world_,
                         MakeMpiCommunicator(MPI_COMM_WORLD, node, options.timeout));
  return session;
}

MpiSession::~MpiSession() {
  // MPI_Finalize spins while it waits for slower ranks, and for ever; this does not.
  if (world_ != nullptr && !world_->Barrier().ok()) Abort(1);
  world_.reset();
  MPI_Finalize();
}

void MpiSession::Abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace atl
