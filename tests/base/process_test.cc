#include "comms/base/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "comms/base/files.h"
#include "gmock/gmock.h"

namespace atl {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;

constexpr int kPatienceMs = 20'000;

int64_t MsSince(steady_clock::time_point start) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - start).count();
}

bool Exists(pid_t pid) { return kill(pid, 0) == 0; }

// Every test is a subreaper, so that an orphan ends up here and can be reaped and looked at.
class ProcessTest : public testing::Test {
 protected:
  ProcessTest() : folder_(TemporaryFolder::Create("atoll-process-test-").value()) {
    BecomeSubreaper();
  }
  ~ProcessTest() override { KillDescendants(); }

  std::string Path(const std::string& name) const { return folder_.path() / name; }
  std::string Content(const std::string& name) const {
    const absl::StatusOr<Bytes> bytes = ReadFile(Path(name), 1 << 20);
    return bytes.ok() ? std::string(AsText(*bytes)) : "";
  }
  // The first line of a file that a child writes.
  std::string AwaitLine(const std::string& name) const {
    const auto start = steady_clock::now();
    while (MsSince(start) < kPatienceMs) {
      const std::string text = Content(name);
      if (const size_t end = text.find('\n'); end != std::string::npos) return text.substr(0, end);
      std::this_thread::sleep_for(milliseconds(5));
    }
    ADD_FAILURE() << name << " got no line";
    return "0";
  }
  pid_t AwaitPid(const std::string& name) const { return std::stoi(AwaitLine(name)); }
  // How an adopted orphan ended: the signal, or -1 if it did not within the patience.
  int AwaitSignalOf(pid_t pid) const {
    const auto start = steady_clock::now();
    while (MsSince(start) < kPatienceMs) {
      int status = 0;
      if (waitpid(pid, &status, WNOHANG) == pid) return WIFSIGNALED(status) ? WTERMSIG(status) : -1;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return -1;
  }
  ProcessOptions Shell(const std::string& script) const {
    return {.arguments = {"sh", "-c", script}, .output_file = Path("output")};
  }

  TemporaryFolder folder_;
};

TEST_F(ProcessTest, GivesTheExitCode) {
  for (int code : {0, 7, 255}) {
    Process process = Process::Start(Shell("exit " + std::to_string(code))).value();
    EXPECT_EQ(*process.Wait(kPatienceMs), code);
    EXPECT_EQ(process.Poll(), code);
    EXPECT_EQ(*process.Wait(0), code);
    process.Signal(SIGKILL);  // does nothing: the id may be another's
    process.Stop(0);
    EXPECT_EQ(process.Poll(), code);
  }
}

TEST_F(ProcessTest, MissingProgramIsNotFound) {
  const auto missing = Process::Start({.arguments = {"atoll-no-such-program"}});
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("atoll-no-such-program"));
  EXPECT_EQ(Process::Start({.arguments = {"/no/such/program"}}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(
      Process::Start({.arguments = {"sh"}, .environment = {{"PATH", Path("")}}}).status().code(),
      absl::StatusCode::kNotFound);
  EXPECT_EQ(Process::Start({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ProcessTest, OtherFailuresToStartAreInternalAndSayWhy) {
  const auto folder = Process::Start({.arguments = {"true"}, .working_folder = "/no/such"});
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(folder.status().message()), HasSubstr("/no/such: No such file"));
  const auto output = Process::Start({.arguments = {"true"}, .output_file = "/no/such/file"});
  EXPECT_EQ(output.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(output.status().message()), HasSubstr("/no/such/file"));
  ASSERT_TRUE(WriteFileAtomic(Path("garbage"), AsBytes("\x7f no program"), 0755).ok());
  const auto garbage = Process::Start({.arguments = {Path("garbage")}});
  EXPECT_EQ(garbage.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(garbage.status().message()), HasSubstr("format"));
  ASSERT_TRUE(WriteFileAtomic(Path("plain"), AsBytes("#!/bin/sh\n"), 0644).ok());
  EXPECT_EQ(Process::Start({.arguments = {Path("plain")}}).status().code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a failed start left a child";
}

TEST_F(ProcessTest, PassesEnvironmentFolderOutputAndNoInput) {
  setenv("ATOLL_TEST_KEPT", "kept", 1);
  setenv("ATOLL_TEST_CHANGED", "old", 1);
  ProcessOptions options =
      Shell("echo $ATOLL_TEST_KEPT $ATOLL_TEST_CHANGED; pwd -P; cat; echo error >&2");
  options.environment = {{"ATOLL_TEST_CHANGED", "new value"}};
  options.working_folder = folder_.path();
  EXPECT_EQ(*Process::Start(options)->Wait(kPatienceMs), 0);
  const std::string expected =
      "kept new value\n" + std::filesystem::canonical(folder_.path()).string() + "\nerror\n";
  EXPECT_EQ(Content("output"), expected);
  EXPECT_EQ(*Process::Start(options)->Wait(kPatienceMs), 0);
  EXPECT_EQ(Content("output"), expected + expected) << "output must be appended";
}

TEST_F(ProcessTest, RelativeProgramIsThisProcessesNotTheWorkingFolders) {
  ASSERT_TRUE(WriteFileAtomic(Path("script"), AsBytes("#!/bin/sh\nexit 9\n"), 0755).ok());
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder_.path());
  auto process = Process::Start({.arguments = {"./script"}, .working_folder = "/"});
  std::filesystem::current_path(before);
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(*process->Wait(kPatienceMs), 9);
}

TEST_F(ProcessTest, ChildInheritsNoDescriptorAndNoSignalSettings) {
  const int fd = open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as libraries do
  ASSERT_GE(fd, 3);
  signal(SIGPIPE, SIG_IGN);
  sigset_t blocked, old;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigprocmask(SIG_BLOCK, &blocked, &old);
  Process process =
      Process::Start(Shell("ls /proc/self/fd | wc -l; grep -E 'Sig(Blk|Ign)' /proc/self/status"))
          .value();
  sigprocmask(SIG_SETMASK, &old, nullptr);
  signal(SIGPIPE, SIG_DFL);
  close(fd);
  EXPECT_EQ(*process.Wait(kPatienceMs), 0);
  // 0, 1, 2 and ls's own.
  EXPECT_EQ(Content("output"), "4\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_F(ProcessTest, SignalsAndTimeouts) {
  Process process = Process::Start({.arguments = {"sleep", "600"}}).value();
  EXPECT_EQ(process.Poll(), std::nullopt);
  const auto start = steady_clock::now();
  EXPECT_EQ(process.Wait(50).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_GE(MsSince(start), 50);
  process.Signal(SIGINT);
  EXPECT_EQ(*process.Wait(kPatienceMs), 128 + SIGINT);
}

TEST_F(ProcessTest, StopEndsAWillingChildWithSigterm) {
  Process process = Process::Start({.arguments = {"sleep", "600"}}).value();
  const auto start = steady_clock::now();
  process.Stop(kPatienceMs);
  EXPECT_LT(MsSince(start), kPatienceMs);
  EXPECT_EQ(process.Poll(), 128 + SIGTERM);
  EXPECT_FALSE(Exists(process.pid()));
}

TEST_F(ProcessTest, StopKillsAStubbornChildAfterTheGrace) {
  Process process =
      Process::Start(Shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")).value();
  AwaitLine("output");
  const auto start = steady_clock::now();
  process.Stop(300);
  EXPECT_GE(MsSince(start), 300);
  EXPECT_LT(MsSince(start), kPatienceMs);
  EXPECT_EQ(process.Poll(), 128 + SIGKILL);
  EXPECT_FALSE(Exists(process.pid()));
}

TEST_F(ProcessTest, StopTakesTheWholeGroupAlong) {
  Process process =
      Process::Start(Shell("sh -c 'trap \"\" TERM; echo $$; sleep 600; :' & wait")).value();
  const pid_t grandchild = AwaitPid("output");
  process.Stop(kPatienceMs);
  EXPECT_EQ(process.Poll(), 128 + SIGTERM);
  EXPECT_EQ(AwaitSignalOf(grandchild), SIGKILL);
}

TEST_F(ProcessTest, DestructionAndAssignmentKillAndReap) {
  pid_t first = 0, second = 0;
  {
    Process process = Process::Start({.arguments = {"sleep", "600"}}).value();
    first = process.pid();
    Process other = Process::Start({.arguments = {"sleep", "600"}, .own_group = false}).value();
    second = other.pid();
    EXPECT_EQ(getpgid(first), first);
    EXPECT_EQ(getpgid(second), getpgrp());
    process = std::move(other);
    EXPECT_FALSE(Exists(first));
    EXPECT_TRUE(Exists(second));
    EXPECT_EQ(process.pid(), second);
  }
  EXPECT_FALSE(Exists(second));
}

TEST_F(ProcessTest, ChildDiesWithItsParent) {
  const std::string pid_file = Path("pid");
  const pid_t middle = fork();
  if (middle == 0) {
    absl::StatusOr<Process> process = Process::Start({.arguments = {"sleep", "600"}});
    if (!process.ok()) _exit(1);
    std::ofstream(pid_file) << process->pid() << std::endl;
    pause();
    _exit(0);
  }
  const pid_t child = AwaitPid("pid");
  EXPECT_TRUE(Exists(child));
  kill(middle, SIGKILL);
  EXPECT_EQ(AwaitSignalOf(middle), SIGKILL);
  EXPECT_EQ(AwaitSignalOf(child), SIGKILL);
}

TEST_F(ProcessTest, DieWithParentEndsAProcessAndAnOrphanAtOnce) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t middle = fork();
  if (middle == 0) {
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child == 0) {
      DieWithParent(parent);
      const pid_t self = getpid();
      [[maybe_unused]] const ssize_t written = write(ready[1], &self, sizeof self);
      pause();
      _exit(0);
    }
    pause();
    _exit(0);
  }
  pid_t child = 0;
  ASSERT_EQ(read(ready[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
  close(ready[0]);
  close(ready[1]);
  kill(middle, SIGKILL);
  EXPECT_EQ(AwaitSignalOf(middle), SIGKILL);
  EXPECT_EQ(AwaitSignalOf(child), SIGKILL);

  const pid_t late = fork();
  if (late == 0) {
    DieWithParent(getppid() + 1);  // as if the parent had gone and another had adopted it
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(late, &status, 0), late);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_NE(WEXITSTATUS(status), 0);
}

TEST_F(ProcessTest, KillDescendantsFindsDoubleForkedOrphans) {
  Process process = Process::Start(Shell("setsid sh -c 'trap \"\" TERM; echo $$; sleep 600; :' & "
                                         "exit 0"))
                        .value();
  EXPECT_EQ(*process.Wait(kPatienceMs), 0);
  const pid_t orphan = AwaitPid("output");
  ASSERT_TRUE(Exists(orphan));
  Process child = Process::Start({.arguments = {"sleep", "600"}}).value();
  EXPECT_TRUE(LiveDescendants().contains(orphan));
  EXPECT_TRUE(LiveDescendants().contains(child.pid()));
  EXPECT_GE(KillDescendants(), 2);
  EXPECT_FALSE(Exists(orphan));
  EXPECT_FALSE(Exists(child.pid()));
  EXPECT_TRUE(LiveDescendants().empty());
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "something was left unreaped";
  EXPECT_EQ(child.Poll(), 128 + SIGKILL);
  EXPECT_EQ(KillDescendants(), 0);
}

TEST_F(ProcessTest, ForbidCoreDumps) {
  const pid_t pid = fork();
  if (pid == 0) {
    ForbidCoreDumps();
    rlimit limit;
    getrlimit(RLIMIT_CORE, &limit);
    _exit(limit.rlim_cur == 0 && limit.rlim_max == 0 && prctl(PR_GET_DUMPABLE) == 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace atl
