// libtorch reports errors by exceptions; this is the one place where they become statuses.
#pragma once

#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"

namespace atl::trainer {

// For use in a catch block: RESOURCE_EXHAUSTED when memory ran out, else INTERNAL with the first
// line of the message.
absl::Status StatusOfCurrentException(std::string_view doing);

// body() returns absl::Status or absl::StatusOr<T>; so does this.
template <typename Body>
auto CatchTorch(std::string_view doing, Body&& body) -> std::invoke_result_t<Body> {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    return StatusOfCurrentException(doing);
  }
}

}  // namespace atl::trainer
