#include "tests/store/faults.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "comms/base/random.h"

namespace atl::store {
namespace {

pid_t ForkChild() {
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(60);
  }
  return pid;
}

int Reap(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return -1;
  return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

int InChild(const std::function<int()>& body) {
  const pid_t pid = ForkChild();
  if (pid < 0) return -1;
  if (pid == 0) _exit(body());
  return Reap(pid);
}

int OnTinyDisk(const std::filesystem::path& folder, int kib, const std::function<int()>& body) {
  return InChild([&] {
    const std::string options = "size=" + std::to_string(kib) + "k";
    if (unshare(CLONE_NEWNS) != 0 ||
        mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", folder.c_str(), "tmpfs", 0, options.c_str()) != 0) {
      return kCannotMount;
    }
    return body();
  });
}

int WithFileLimit(uint64_t bytes, const std::function<int()>& body) {
  return InChild([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {bytes, bytes};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 99;
    return body();
  });
}

uint64_t KillAfter(int us, const std::function<void(const std::function<void(uint64_t)>&)>& body) {
  int pipe_fds[2];
  if (pipe(pipe_fds) != 0) return 0;
  const pid_t pid = ForkChild();
  if (pid == 0) {
    close(pipe_fds[0]);
    body([&](uint64_t number) {
      if (write(pipe_fds[1], &number, sizeof(number)) != sizeof(number)) _exit(1);
    });
    _exit(0);
  }
  close(pipe_fds[1]);
  usleep(static_cast<useconds_t>(us));
  kill(pid, SIGKILL);
  uint64_t last = 0, number = 0;
  while (read(pipe_fds[0], &number, sizeof(number)) == sizeof(number)) last = number;
  close(pipe_fds[0]);
  Reap(pid);
  return last;
}

uint64_t TestSeed() {
  const char* const given = std::getenv("ATOLL_TEST_SEED");
  uint64_t seed = 0;
  if (given != nullptr) {
    seed = std::strtoull(given, nullptr, 10);
  } else {
    SystemRandom().Fill({reinterpret_cast<uint8_t*>(&seed), sizeof(seed)});
  }
  printf("seed %llu; replay with ATOLL_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed),
         static_cast<unsigned long long>(seed));
  return seed;
}

void FlipBit(const std::filesystem::path& path, uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  char byte = 0;
  file.get(byte);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 0x10));
}

bool FileContains(const std::filesystem::path& path, const std::string& text) {
  std::ifstream file(path, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return all.find(text) != std::string::npos;
}

}  // namespace atl::store
