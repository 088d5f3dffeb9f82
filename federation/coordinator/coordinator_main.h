// `atoll coordinator`: everything from a data folder and a roster to a server that runs until it is
// told to stop.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace atl::coordinator {

inline constexpr uint32_t kSumThreadsMax = 16;

struct CoordinatorMainOptions {
  std::string listen = "127.0.0.1:7700";  // host:port; port 0 picks a free one
  std::filesystem::path data_folder;      // made if it is not there; one coordinator at a time
  std::filesystem::path roster_file;
  // In place of the recipes' own values.
  std::optional<int> reconnect_grace_s;
  std::optional<int> cohort_wait_s;
  uint32_t sum_threads = 0;  // that add up a round's vectors; 0: one a core, kSumThreadsMax at most
  // Written whole when the server listens: {"address": "127.0.0.1:40123", "pid": 4711}. Empty:
  // none.
  std::filesystem::path ready_file;
};

// Serves until SIGTERM or SIGINT, then stops within two seconds and returns OK. Call it from the
// main thread before other threads are started: the two signals are blocked and waited for. Logs
// through spdlog's default logger. Errors, each one line for people: UNAVAILABLE (the port is in
// use, with the address), FAILED_PRECONDITION (an address that needs TLS; another coordinator uses
// the data folder), INVALID_ARGUMENT (address), and what reading roster and data folder give.
absl::Status RunCoordinator(const CoordinatorMainOptions& options);

}  // namespace atl::coordinator
