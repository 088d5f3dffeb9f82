#include "comms/collectives/mpi/mpi_error.h"

#include <mpi.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace atl {

absl::Status MpiStatus(int code, std::string_view operation) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  int error_class = MPI_ERR_UNKNOWN;
  MPI_Error_class(code, &error_class);
  MPI_Error_string(code, text, &length);
  std::string message = absl::StrCat(absl::string_view(operation.data(), operation.size()), ": ",
                                     absl::string_view(text, static_cast<size_t>(length)));
  switch (error_class) {
    case MPI_ERR_COUNT:
    case MPI_ERR_TYPE:
    case MPI_ERR_ROOT:
    case MPI_ERR_COMM:
    case MPI_ERR_BUFFER:
    case MPI_ERR_TRUNCATE:
      return absl::InvalidArgumentError(message);
    case MPI_ERR_OTHER:
    case MPI_ERR_PORT:
    case MPI_ERR_PENDING:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace atl
