// Starts a trainer's ranks on this machine with Open MPI's mpirun.
#pragma once

#include "comms/base/process.h"
#include "federation/site/launcher.h"

namespace atl::site {

class MpirunLauncher : public Launcher {
 public:
  absl::Status Check(const std::filesystem::path& trainer) const override;
  absl::StatusOr<std::unique_ptr<RunningTrainer>> Launch(const LaunchSpec& spec) override;
};

// mpirun's command line and environment for a launch.
ProcessOptions MpirunOptions(const LaunchSpec& spec);

}  // namespace atl::site
