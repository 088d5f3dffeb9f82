// Logging over spdlog: to stderr for people, or JSON lines on request; to a file when one is named.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "spdlog/spdlog.h"

namespace atl {

struct LogOptions {
  std::string program = {};    // shown in each line
  bool json = false;           // one JSON object a line: time, level, program, message
  std::string level = "info";  // trace, debug, info, warn, error, off
  std::string file = {};       // empty: stderr
};

// Sets spdlog's default logger. INVALID_ARGUMENT for an unknown level; the file's error when it
// cannot be opened.
absl::Status InitLogging(const LogOptions& options);

namespace log_internal {
// spdlog's own default logger writes to stdout, which belongs to a program's results (--json). Any
// program with a source that includes this header logs to stderr from its start, also before
// InitLogging.
bool UseStderr();
inline const bool uses_stderr = UseStderr();
}  // namespace log_internal

}  // namespace atl
