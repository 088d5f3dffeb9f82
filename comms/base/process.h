// Child processes that do not outlive their parent.
#pragma once

#include <sys/types.h>

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace atl {

struct ProcessOptions {
  std::vector<std::string> arguments = {};                            // [0] is looked up in PATH
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to the parent's
  std::string working_folder = {};                                    // empty: the parent's
  std::string output_file = {};  // stdout and stderr appended here; empty: inherited
  bool own_group = true;         // a process group of its own
};

// A running child. Standard input is /dev/null; PR_SET_PDEATHSIG is SIGKILL, so the child goes with
// the thread that started it: start children from the main thread. Kills and reaps on destruction.
class Process {
 public:
  // NOT_FOUND when the program is not in PATH (the message says which); INTERNAL for other failures
  // to start.
  static absl::StatusOr<Process> Start(const ProcessOptions& options);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  // The exit code (128 + signal when killed by one) if it has ended, without waiting.
  std::optional<int> Poll();
  // Waits at most timeout_ms; DEADLINE_EXCEEDED when it still runs.
  absl::StatusOr<int> Wait(int timeout_ms);
  void Signal(int signal);  // to the group when it has its own, else to the process
  // SIGTERM, then SIGKILL after grace_ms; reaps.
  void Stop(int grace_ms);

 private:
  Process() = default;
  pid_t pid_ = -1;
  bool own_group_ = false;
  std::optional<int> exit_code_;
};

// Whether Process::Start would find the program.
bool ProgramExists(const std::string& name);
// Makes this process adopt orphaned grandchildren (PR_SET_CHILD_SUBREAPER).
void BecomeSubreaper();
// Ids of all live descendants of this process.
std::set<pid_t> LiveDescendants();
// SIGKILLs and reaps every descendant of this process (bounded to a few passes over /proc). Returns
// how many.
int KillDescendants();
// Sends this process SIGKILL when its parent ends (PR_SET_PDEATHSIG); exits at once if the parent
// is already gone.
void DieWithParent(pid_t expected_parent);
// No core files (secrets stay out of them): RLIMIT_CORE 0 and PR_SET_DUMPABLE 0.
void ForbidCoreDumps();

}  // namespace atl
