// What the system knows of another process of this machine.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace atl::shared {

struct ProcessState {
  enum class Life { kGone, kStopped, kThere };
  Life life = Life::kGone;   // a process that has ended and was not yet waited for is gone
  uint64_t start_ticks = 0;  // when it started, since boot: tells it from a later one of its number
  uint64_t cpu_ticks = 0;    // processor time used so far
};

// From /proc/<pid>/stat; kGone when there is none.
ProcessState StateOf(pid_t pid);

// Ticks in a second.
uint64_t TicksPerSecond();

}  // namespace atl::shared
