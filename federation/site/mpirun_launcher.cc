#include "federation/site/mpirun_launcher.h"

#include <signal.h>
#include <unistd.h>

#include <system_error>

#include "comms/base/files.h"
#include "comms/base/status.h"

namespace atl::site {
namespace {

namespace fs = std::filesystem;

bool IsProgram(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

class MpirunTrainer : public RunningTrainer {
 public:
  MpirunTrainer(Process process, fs::path folder)
      : process_(std::move(process)), folder_(std::move(folder)) {}
  ~MpirunTrainer() override {
    process_.Stop(0);
    std::error_code ignored;  // what stays is swept at the next start
    fs::remove_all(folder_, ignored);
  }
  pid_t pid() const override { return process_.pid(); }
  std::optional<int> Poll() override { return process_.Poll(); }
  void Stop(int grace_ms) override { process_.Stop(grace_ms); }

 private:
  Process process_;
  const fs::path folder_;
};

}  // namespace

ProcessOptions MpirunOptions(const LaunchSpec& spec) {
  ProcessOptions options;
  // Without binding: with it each of several sites on a machine would take its first cores. Waiting
  // ranks yield, since other sites' ranks may want the core; where cores are idle that costs
  // nothing.
  options.arguments = {"mpirun", "-np", std::to_string(spec.ranks), "--bind-to", "none",
                       "--oversubscribe", "--mca", "mpi_yield_when_idle", "1",
                       // Sessions and shared memory where they are swept with the job; measured as
                       // fast as /dev/shm.
                       "--mca", "orte_tmpdir_base", spec.folder.string(), "--mca",
                       "btl_vader_backing_directory", spec.folder.string(), "--mca",
                       "osc_sm_backing_directory", spec.folder.string(), "--mca",
                       "osc_rdma_backing_directory", spec.folder.string(), spec.trainer.string(),
                       "serve", "--link", spec.link};
  options.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                         {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                         {"OMP_NUM_THREADS", std::to_string(spec.threads_per_rank)},
                         // Threads of a rank that wait for each other look so often, then sleep. By
                         // default they look 30 times as often: a sixth of two cores went to that
                         // in the evaluator while eight ranks trained beside it.
                         {"GOMP_SPINCOUNT", "10000"}};
  options.output_file = spec.log_file.string();
  return options;
}

absl::Status MpirunLauncher::Check(const fs::path& trainer) const {
  if (!ProgramExists("mpirun")) {
    return absl::NotFoundError("mpirun is not in PATH: apt install openmpi-bin");
  }
  if (!IsProgram(trainer)) {
    return absl::NotFoundError(absl::StrCat("the trainer ", trainer.string(),
                                            " is not there or not executable: build the target "
                                            "atoll-trainer, or name another one with --trainer"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RunningTrainer>> MpirunLauncher::Launch(const LaunchSpec& spec) {
  ATOLL_RETURN_IF_ERROR(Check(spec.trainer));
  ATOLL_RETURN_IF_ERROR(MakeFolder(spec.folder, 0700));
  ATOLL_ASSIGN_OR_RETURN(Process process, Process::Start(MpirunOptions(spec)));
  return std::make_unique<MpirunTrainer>(std::move(process), spec.folder);
}

}  // namespace atl::site
