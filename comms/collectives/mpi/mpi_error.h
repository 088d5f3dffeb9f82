// MPI's error codes as statuses; the one place that knows them.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace atl {

// OK for MPI_SUCCESS; else UNAVAILABLE when another process is gone, INVALID_ARGUMENT for a wrong
// call, INTERNAL for the rest, with MPI's own text.
absl::Status MpiStatus(int code, std::string_view operation);

}  // namespace atl
