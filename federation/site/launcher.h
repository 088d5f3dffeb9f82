// How a site starts its trainer: `mpirun` now; a batch system would be another Launcher.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace atl::site {

struct LaunchSpec {
  std::filesystem::path trainer;  // the program
  uint32_t ranks = 1;
  uint32_t threads_per_rank = 1;
  std::string link;                // where rank 0 finds its agent: "unix:/..."
  std::filesystem::path folder;    // of this launch, empty: sessions and shared memory live in it
  std::filesystem::path log_file;  // standard output and error are appended
};

// A trainer that was started. Stopped, and its folder removed, on destruction.
class RunningTrainer {
 public:
  virtual ~RunningTrainer() = default;
  virtual pid_t pid() const = 0;
  // The exit code, if all of it has ended.
  virtual std::optional<int> Poll() = 0;
  // Ends it, by force after grace_ms.
  virtual void Stop(int grace_ms) = 0;
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  // Whether it could start a trainer here: NOT_FOUND with what to do, in one line.
  virtual absl::Status Check(const std::filesystem::path& trainer) const = 0;
  // From a thread that lives as long as the trainer shall. NOT_FOUND as Check; INTERNAL.
  virtual absl::StatusOr<std::unique_ptr<RunningTrainer>> Launch(const LaunchSpec& spec) = 0;
};

}  // namespace atl::site
