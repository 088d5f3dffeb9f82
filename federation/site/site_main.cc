#include "federation/site/site_main.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "comms/base/clock.h"
#include "comms/base/process.h"
#include "comms/base/status.h"
#include "federation/site/agent.h"
#include "federation/site/mpirun_launcher.h"

namespace atl::site {
namespace {

namespace fs = std::filesystem;

int signal_pipe[2] = {-1, -1};

void OnSignal(int) {
  const int saved = errno;
  [[maybe_unused]] const ssize_t written = write(signal_pipe[1], "s", 1);
  errno = saved;
}

// Runs `stop` in a thread of its own at SIGTERM, SIGINT or SIGHUP. One at a time in a process.
class SignalWatch {
 public:
  template <typename Stop>
  explicit SignalWatch(Stop stop) {
    if (pipe2(signal_pipe, O_CLOEXEC) != 0) return;
    struct sigaction action = {};
    action.sa_handler = OnSignal;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &action, &before_[i]);
    thread_ = std::thread([stop] {
      char byte;
      ssize_t got;
      do {
        got = read(signal_pipe[0], &byte, 1);
      } while (got < 0 && errno == EINTR);
      if (got == 1 && byte == 's') stop();
    });
  }
  ~SignalWatch() {
    if (!thread_.joinable()) return;
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
    [[maybe_unused]] const ssize_t written = write(signal_pipe[1], "e", 1);
    thread_.join();
    for (int& end : signal_pipe) {
      close(end);
      end = -1;
    }
  }

 private:
  static constexpr std::array<int, 3> kSignals = {SIGTERM, SIGINT, SIGHUP};
  std::array<struct sigaction, 3> before_ = {};
  std::thread thread_;
};

// The cores this process may use.
double MachineCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return std::max(1u, std::thread::hardware_concurrency());
}

double MachineMemoryGb() {
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<double>(sysconf(_SC_PAGE_SIZE)) / (1 << 30);
}

absl::StatusOr<SiteOptions> Complete(SiteOptions options) {
  const auto missing = [](const char* what) {
    return absl::InvalidArgumentError(
        absl::StrCat("site: ", what, " is missing: name it in the site file or with a flag"));
  };
  const bool is_site = options.role == Role::kSite;
  if (options.coordinator.empty()) return missing("the coordinator's address");
  if (options.data_folder.empty()) return missing("the data folder");
  if (is_site && options.identity_file.empty()) return missing("the identity file");
  if (is_site && options.roster_file.empty()) return missing("the roster file");
  if (is_site && options.site_id == 0) return missing("the site id");
  if (options.cpus <= 0) options.cpus = MachineCpus();
  if (options.memory_gb <= 0) options.memory_gb = MachineMemoryGb();
  if (options.trainer.empty()) {
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error);
    options.trainer = self.parent_path() / "atoll-trainer";
  }
  options.trainer = fs::absolute(options.trainer);
  if (options.log.program.empty()) {
    options.log.program = is_site ? absl::StrCat("site ", options.site_id) : "evaluator";
  }
  return options;
}

absl::Status Serve(const SiteOptions& given) {
  ATOLL_ASSIGN_OR_RETURN(const SiteOptions options, Complete(given));
  ATOLL_RETURN_IF_ERROR(InitLogging(options.log));
  // Signals are caught from before the agent begins until it has cleaned up after itself: whoever
  // stops it may say so twice.
  std::mutex mutex;
  Agent* running = nullptr;
  bool stop = false;
  SignalWatch watch([&] {
    std::lock_guard lock(mutex);
    stop = true;
    if (running != nullptr) running->RequestStop();
  });
  MpirunLauncher launcher;
  ATOLL_ASSIGN_OR_RETURN(const std::unique_ptr<Agent> agent,
                         Agent::Create(options, launcher, RealClock()));
  {
    std::lock_guard lock(mutex);
    running = agent.get();
    if (stop) agent->RequestStop();
  }
  const absl::Status status = agent->Run();
  std::lock_guard lock(mutex);
  running = nullptr;
  return status;
}

}  // namespace

int RunSite(const SiteOptions& options) {
  if (options.parent > 0) DieWithParent(options.parent);
  ForbidCoreDumps();
  BecomeSubreaper();
  const absl::Status status = Serve(options);
  KillDescendants();
  if (status.ok()) return 0;
  spdlog::error("{}", std::string(status.message()));
  return 1;
}

}  // namespace atl::site
