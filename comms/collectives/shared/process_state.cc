#include "comms/collectives/shared/process_state.h"

#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace atl::shared {

ProcessState StateOf(pid_t pid) {
  char path[64], text[1024];
  std::snprintf(path, sizeof(path), "/proc/%d/stat", static_cast<int>(pid));
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t length = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (length <= 0) return {};
  text[length] = '\0';
  // The second field is the program's name in brackets and may hold any character.
  const char* rest = std::strrchr(text, ')');
  char letter = 'X';
  uint64_t user = 0, system = 0, start = 0;
  // proc(5): state is field 3, utime 14, stime 15, starttime 22.
  if (rest == nullptr || std::sscanf(rest,
                                     ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64
                                     " %" SCNu64 " %*s %*s %*s %*s %*s %*s %" SCNu64,
                                     &letter, &user, &system, &start) != 4) {
    return {};
  }
  ProcessState state{.start_ticks = start, .cpu_ticks = user + system};
  if (letter == 'Z' || letter == 'X') return state;
  state.life =
      letter == 'T' || letter == 't' ? ProcessState::Life::kStopped : ProcessState::Life::kThere;
  return state;
}

uint64_t TicksPerSecond() { return static_cast<uint64_t>(sysconf(_SC_CLK_TCK)); }

}  // namespace atl::shared
