#include "comms/base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <thread>

#include "comms/base/files.h"
#include "comms/base/status.h"

namespace atl {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* kDefaultPath = "/usr/bin:/bin";

std::string Reason(int error) { return std::generic_category().message(error); }

// What the child tells its parent when it cannot become the program.
struct StartFailure {
  enum Stage : int { kInput, kFolder, kOutput, kExec };
  Stage stage;
  int error;
};

// Everything the child needs, made before the fork: after it only async-signal-safe calls are
// allowed.
struct ChildPlan {
  std::string program;
  std::vector<std::string> arguments, environment;
  std::vector<char*> argv, envp;
  std::string folder;
  int output_fd = -1;
  int failure_fd = -1;
  bool own_group = true;
  pid_t parent = 0;
};

bool IsProgram(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

// The program's path, absolute where it was relative to this process's folder; empty when there is
// none in `path`.
std::string FindProgram(const std::string& name, std::string_view path) {
  std::error_code ignored;
  if (name.find('/') != std::string::npos) {
    return fs::exists(name, ignored) ? fs::absolute(name, ignored).string() : std::string();
  }
  while (!name.empty()) {
    const size_t colon = path.find(':');
    const fs::path folder = path.substr(0, colon);
    const std::string candidate = fs::absolute(folder.empty() ? "." : folder, ignored) / name;
    if (IsProgram(candidate)) return candidate;
    if (colon == std::string_view::npos) break;
    path.remove_prefix(colon + 1);
  }
  return {};
}

// This process's environment with the additions, which win over what is there.
std::map<std::string, std::string> MergedEnvironment(const ProcessOptions& options) {
  std::map<std::string, std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos)
      merged.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  for (const auto& [name, value] : options.environment) merged[name] = value;
  return merged;
}

[[noreturn]] void RunChild(const ChildPlan& plan) {
  const auto fail = [&](StartFailure::Stage stage) {
    const StartFailure failure{stage, errno};
    [[maybe_unused]] const ssize_t written = write(plan.failure_fd, &failure, sizeof failure);
    _exit(127);
  };
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != plan.parent) _exit(127);  // it ended before the line above
  if (plan.own_group) setpgid(0, 0);
  // A new program inherits ignored and blocked signals; ours must not leak into it.
  for (int signal_number = 1; signal_number < NSIG; ++signal_number) signal(signal_number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int input = open("/dev/null", O_RDONLY);
  if (input < 0 || dup2(input, STDIN_FILENO) < 0) fail(StartFailure::kInput);
  if (plan.output_fd >= 0 &&
      (dup2(plan.output_fd, STDOUT_FILENO) < 0 || dup2(plan.output_fd, STDERR_FILENO) < 0)) {
    fail(StartFailure::kOutput);
  }
  // Libraries do not mark all their descriptors; the sockets of this process are not for the child.
#ifdef SYS_close_range
  constexpr unsigned kCloseRangeCloexec = 4;
  syscall(SYS_close_range, 3U, ~0U, kCloseRangeCloexec);
#endif
  if (!plan.folder.empty() && chdir(plan.folder.c_str()) != 0) fail(StartFailure::kFolder);
  execve(plan.program.c_str(), plan.argv.data(), plan.envp.data());
  fail(StartFailure::kExec);
  _exit(127);
}

absl::Status ToStatus(const StartFailure& failure, const ProcessOptions& options) {
  std::string what;
  switch (failure.stage) {
    case StartFailure::kInput:
      what = "cannot open /dev/null";
      break;
    case StartFailure::kOutput:
      what = "cannot redirect its output";
      break;
    case StartFailure::kFolder:
      what = "cannot enter the folder " + options.working_folder;
      break;
    case StartFailure::kExec:
      what = "cannot execute it";
      break;
  }
  return absl::InternalError(
      absl::StrCat(options.arguments[0], ": ", what, ": ", Reason(failure.error)));
}

int ExitCode(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

// Whether the child has ended; it stays unreaped, so that its id still belongs to it.
bool HasEnded(pid_t pid) {
  siginfo_t info{};
  const int result = waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT);
  return result != 0 ? errno != EINTR : info.si_pid == pid;
}

bool WaitUntilEnded(pid_t pid, int timeout_ms) {
  const auto end = steady_clock::now() + milliseconds(std::max(timeout_ms, 0));
  milliseconds pause(1);
  while (!HasEnded(pid)) {
    const auto now = steady_clock::now();
    if (now >= end) return false;
    std::this_thread::sleep_for(std::min<steady_clock::duration>(pause, end - now));
    pause = std::min(pause * 2, milliseconds(10));
  }
  return true;
}

struct ProcessEntry {
  pid_t parent = 0;
  bool zombie = false;
};

std::map<pid_t, ProcessEntry> AllProcesses() {
  std::map<pid_t, ProcessEntry> processes;
  DIR* const folder = opendir("/proc");
  if (folder == nullptr) return processes;
  while (const dirent* entry = readdir(folder)) {
    char* end = nullptr;
    const long pid = std::strtol(entry->d_name, &end, 10);
    if (pid <= 0 || *end != '\0') continue;
    const absl::StatusOr<Bytes> stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"), 65536);
    if (!stat.ok()) continue;  // it has ended meanwhile
    // "pid (name) state parent ...": the name may hold anything, also parentheses.
    const std::string text(AsText(*stat));
    const size_t name_end = text.rfind(')');
    char state = 0;
    int parent = 0;
    if (name_end == std::string::npos ||
        std::sscanf(text.c_str() + name_end + 1, " %c %d", &state, &parent) != 2) {
      continue;
    }
    processes[static_cast<pid_t>(pid)] = {parent, state == 'Z' || state == 'X'};
  }
  closedir(folder);
  return processes;
}

}  // namespace

absl::StatusOr<Process> Process::Start(const ProcessOptions& options) {
  if (options.arguments.empty() || options.arguments[0].empty()) {
    return absl::InvalidArgumentError("no program to start: arguments[0] is empty");
  }
  const std::string& name = options.arguments[0];
  const std::map<std::string, std::string> environment = MergedEnvironment(options);
  const auto path = environment.find("PATH");

  ChildPlan plan;
  plan.program = FindProgram(name, path == environment.end() ? kDefaultPath : path->second);
  if (plan.program.empty()) {
    return absl::NotFoundError(name.find('/') != std::string::npos
                                   ? absl::StrCat(name, ": there is no such program")
                                   : absl::StrCat(name, ": there is no such program in PATH"));
  }
  plan.arguments = options.arguments;
  for (const auto& [key, value] : environment) plan.environment.push_back(key + "=" + value);
  for (std::string& argument : plan.arguments) plan.argv.push_back(argument.data());
  for (std::string& variable : plan.environment) plan.envp.push_back(variable.data());
  plan.argv.push_back(nullptr);
  plan.envp.push_back(nullptr);
  plan.folder = options.working_folder;
  plan.own_group = options.own_group;
  plan.parent = getpid();

  if (!options.output_file.empty()) {
    plan.output_fd =
        open(options.output_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (plan.output_fd < 0) {
      return absl::InternalError(absl::StrCat(name, ": cannot open its output file ",
                                              options.output_file, ": ", Reason(errno)));
    }
  }
  int failure_pipe[2];
  if (pipe2(failure_pipe, O_CLOEXEC) != 0) {
    const int error = errno;
    if (plan.output_fd >= 0) close(plan.output_fd);
    return absl::InternalError(absl::StrCat(name, ": cannot make a pipe: ", Reason(error)));
  }
  plan.failure_fd = failure_pipe[1];

  const pid_t pid = fork();
  if (pid == 0) RunChild(plan);
  const int fork_error = errno;
  close(failure_pipe[1]);
  if (plan.output_fd >= 0) close(plan.output_fd);
  if (pid < 0) {
    close(failure_pipe[0]);
    return absl::InternalError(absl::StrCat(name, ": cannot fork: ", Reason(fork_error)));
  }
  // The pipe ends without a byte when the program has started (close on exec).
  StartFailure failure{};
  ssize_t got;
  do {
    got = read(failure_pipe[0], &failure, sizeof failure);
  } while (got < 0 && errno == EINTR);
  close(failure_pipe[0]);
  if (got == sizeof failure) {
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return ToStatus(failure, options);
  }
  Process process;
  process.pid_ = pid;
  process.own_group_ = options.own_group;
  return process;
}

Process::Process(Process&& other) noexcept { *this = std::move(other); }

Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  Stop(0);
  pid_ = std::exchange(other.pid_, -1);
  own_group_ = other.own_group_;
  exit_code_ = std::exchange(other.exit_code_, std::nullopt);
  return *this;
}

Process::~Process() {
  if (pid_ <= 0 || exit_code_) return;
  Signal(SIGKILL);
  Stop(0);
}

std::optional<int> Process::Poll() {
  if (exit_code_ || pid_ <= 0) return exit_code_;
  int status = 0;
  const pid_t reaped = waitpid(pid_, &status, WNOHANG);
  if (reaped == pid_) exit_code_ = ExitCode(status);
  // Reaped by KillDescendants, which kills first.
  if (reaped < 0 && errno == ECHILD) exit_code_ = 128 + SIGKILL;
  return exit_code_;
}

absl::StatusOr<int> Process::Wait(int timeout_ms) {
  if (pid_ <= 0)
    return absl::FailedPreconditionError("waiting for a process that was never started");
  if (!exit_code_ && WaitUntilEnded(pid_, timeout_ms)) Poll();
  if (exit_code_) return *exit_code_;
  return absl::DeadlineExceededError(
      absl::StrCat("process ", pid_, " still runs after ", timeout_ms, " ms"));
}

void Process::Signal(int signal) {
  if (pid_ <= 0 || exit_code_) return;  // the id may be somebody else's by now
  kill(own_group_ ? -pid_ : pid_, signal);
}

void Process::Stop(int grace_ms) {
  if (pid_ <= 0 || exit_code_) return;
  Signal(SIGTERM);
  WaitUntilEnded(pid_, grace_ms);
  // Also when the child itself has ended: others of its group may not have. It is unreaped, so the
  // group's id is ours.
  Signal(SIGKILL);
  int status = 0;
  pid_t reaped;
  do {
    reaped = waitpid(pid_, &status, 0);
  } while (reaped < 0 && errno == EINTR);
  exit_code_ = reaped == pid_ ? ExitCode(status) : 128 + SIGKILL;
}

bool ProgramExists(const std::string& name) {
  const char* const path = std::getenv("PATH");
  return !FindProgram(name, path == nullptr ? kDefaultPath : path).empty();
}

void BecomeSubreaper() { prctl(PR_SET_CHILD_SUBREAPER, 1); }

std::set<pid_t> LiveDescendants() {
  const std::map<pid_t, ProcessEntry> processes = AllProcesses();
  std::set<pid_t> family = {getpid()};
  for (size_t before = 0; before != family.size();) {
    before = family.size();
    for (const auto& [pid, entry] : processes) {
      if (family.contains(entry.parent)) family.insert(pid);
    }
  }
  family.erase(getpid());
  std::erase_if(family, [&](pid_t pid) { return processes.at(pid).zombie; });
  return family;
}

int KillDescendants() {
  // Killing a process hands its children to us (as a subreaper), so later passes find what forked
  // meanwhile.
  constexpr int kMaxPasses = 100;
  std::set<pid_t> killed;
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const std::set<pid_t> alive = LiveDescendants();
    for (pid_t pid : alive) {
      if (kill(pid, SIGKILL) == 0) killed.insert(pid);
    }
    pid_t reaped;
    do {
      reaped = waitpid(-1, nullptr, WNOHANG);
    } while (reaped > 0);
    if (alive.empty() && reaped < 0 && errno == ECHILD) break;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return static_cast<int>(killed.size());
}

void DieWithParent(pid_t expected_parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != expected_parent) _exit(128 + SIGKILL);
}

void ForbidCoreDumps() {
  const rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  prctl(PR_SET_DUMPABLE, 0);
}

}  // namespace atl
