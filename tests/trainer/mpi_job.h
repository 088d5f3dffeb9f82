// Real atoll-trainer processes under a real mpirun, for tests: every file they make lies in a
// folder of the test's own, and must be gone when they are.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/files.h"
#include "comms/base/process.h"

namespace atl::trainer {

class MpiJob {
 public:
  // mpirun -np `ranks` atoll-trainer `arguments`, in `folder`. Output goes to folder/output.txt.
  static absl::StatusOr<MpiJob> Start(const std::filesystem::path& folder, int ranks,
                                      const std::vector<std::string>& arguments);

  Process& process() { return process_; }
  std::string output() const;
  // What Open MPI left behind: session folders and shared memory. Empty when it cleaned up.
  std::vector<std::string> Leftovers() const;

 private:
  MpiJob(std::filesystem::path folder, Process process)
      : folder_(std::move(folder)), process_(std::move(process)) {}
  std::filesystem::path folder_;
  Process process_;
};

std::string TrainerProgram();

// Starts, waits, returns the exit code; fails the test when something is left behind or it takes
// over two minutes.
int RunToEnd(const std::filesystem::path& folder, int ranks,
             const std::vector<std::string>& arguments, std::string* output = nullptr);

}  // namespace atl::trainer
