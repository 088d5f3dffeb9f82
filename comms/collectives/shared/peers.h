// Tells a peer that is slow from one that is gone or hangs.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "comms/collectives/shared/group_state.h"
#include "comms/collectives/shared/process_state.h"

namespace atl::shared {

// The other ranks of this machine, as their words in shared memory and /proc show them.
class Peers {
 public:
  // `state` outlives it. processes: ranks are processes whose ids mean the same to all of them
  // (checked for each: what a rank of another pid namespace says of itself is not looked up).
  Peers(GroupState* state, uint32_t rank, uint32_t size, bool processes);
  // After all ranks have written their RankState: finds out which of them can be looked up.
  void Confirm();

  uint32_t rank() const { return rank_; }
  uint32_t size() const { return size_; }
  RankState& state(uint32_t rank) const { return state_->ranks()[rank]; }
  bool visible(uint32_t rank) const { return visible_[rank]; }

 private:
  GroupState* const state_;
  const uint32_t rank_, size_;
  const bool processes_;
  std::vector<bool> visible_;
};

struct Patience {
  // Without a sign of life of any peer, or with one stopped by a signal that is waited for.
  std::chrono::milliseconds timeout{300'000};
  bool signs_needed = true;  // false: peers may do nothing for any time, but not stop or go
};

// One wait. A sign of life is a step in the group's operations, or an eighth of a processor's time
// used: a peer that computes for an hour is waited for, and one that waits itself shows nothing.
class Watch {
 public:
  using Clock = std::chrono::steady_clock;
  Watch(const Peers& peers, Patience patience);

  // Call while waiting; looks at the peers now and then, and not in the first 20 ms. `blocking`
  // tells which ranks must still do something. UNAVAILABLE: such a rank is gone. DEADLINE_EXCEEDED:
  // the patience is at its end. `what`: for messages, such as "all-reduce".
  absl::Status Check(const std::function<bool(uint32_t rank)>& blocking, const char* what);

  Clock::duration waited() const { return Clock::now() - begin_; }

 private:
  struct Seen {
    uint64_t started = 0, busy = 0, cpu_ticks = 0;
    Clock::time_point cpu_at, moving_until;  // moving_until: last time it was not stopped
  };
  absl::Status Look(Clock::time_point now, const std::function<bool(uint32_t)>& blocking,
                    const char* what);
  // Whether the process has used the processor since it was last asked.
  static bool HasComputed(Seen& seen, const ProcessState& process, Clock::time_point now);

  const Peers& peers_;
  const Patience patience_;
  const Clock::time_point begin_;
  Clock::time_point next_look_, last_sign_;
  std::vector<Seen> seen_;
};

}  // namespace atl::shared
