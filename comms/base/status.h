// Errors are values: absl::Status and absl::StatusOr everywhere outside torch.
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace atl {

// The same status with "context: " put before its message; OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

// "code: message" for logs and terminals; "OK" for OK.
std::string ToString(const absl::Status& status);

}  // namespace atl

#define ATOLL_CONCAT_INNER_(a, b) a##b
#define ATOLL_CONCAT_(a, b) ATOLL_CONCAT_INNER_(a, b)

// Returns from the enclosing function when `expression` (an absl::Status) is not OK.
#define ATOLL_RETURN_IF_ERROR(expression)                                                       \
  do {                                                                                          \
    if (::absl::Status atoll_status_ = (expression); !atoll_status_.ok()) return atoll_status_; \
  } while (false)

// ATOLL_ASSIGN_OR_RETURN(auto x, F()): declares or assigns the value of a StatusOr, or returns its
// error.
#define ATOLL_ASSIGN_OR_RETURN(declaration, expression) \
  ATOLL_ASSIGN_OR_RETURN_IMPL_(ATOLL_CONCAT_(atoll_result_, __LINE__), declaration, expression)
#define ATOLL_ASSIGN_OR_RETURN_IMPL_(result, declaration, expression) \
  auto result = (expression);                                         \
  if (!result.ok()) return result.status();                           \
  declaration = std::move(result).value()
