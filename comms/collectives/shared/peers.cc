#include "comms/collectives/shared/peers.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace atl::shared {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kFirstLook{20}, kLookAtLeast{5}, kLookAtMost{100};
constexpr milliseconds kCpuWindow{100};  // /proc counts in steps of 10 ms

std::string Name(const Peers& peers, uint32_t rank) {
  const uint64_t pid = Load(peers.state(rank).pid);
  return peers.visible(rank) ? absl::StrCat("rank ", rank, " (process ", pid, ")")
                             : absl::StrCat("rank ", rank);
}

double Seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

Peers::Peers(GroupState* state, uint32_t rank, uint32_t size, bool processes)
    : state_(state), rank_(rank), size_(size), processes_(processes), visible_(size, false) {
  RankState& mine = this->state(rank);
  Store(mine.start_ticks, StateOf(getpid()).start_ticks);
  Store(mine.pid, static_cast<uint64_t>(getpid()));
}

void Peers::Confirm() {
  for (uint32_t r = 0; r < size_; ++r) {
    const auto pid = static_cast<pid_t>(Load(state(r).pid));
    visible_[r] = processes_ && pid > 0 && r != rank_ &&
                  StateOf(pid).start_ticks == Load(state(r).start_ticks);
  }
}

Watch::Watch(const Peers& peers, Patience patience)
    : peers_(peers),
      patience_(patience),
      begin_(Clock::now()),
      next_look_(begin_ + kFirstLook),
      last_sign_(begin_) {}

absl::Status Watch::Check(const std::function<bool(uint32_t)>& blocking, const char* what) {
  const auto now = Clock::now();
  if (now < next_look_) return absl::OkStatus();
  next_look_ = now + std::clamp(patience_.timeout / 20, kLookAtLeast, kLookAtMost);
  return Look(now, blocking, what);
}

absl::Status Watch::Look(Clock::time_point now, const std::function<bool(uint32_t)>& blocking,
                         const char* what) {
  if (seen_.empty()) seen_.resize(peers_.size(), Seen{.cpu_at = now, .moving_until = now});
  for (uint32_t r = 0; r < peers_.size(); ++r) {
    if (r == peers_.rank()) continue;
    RankState& state = peers_.state(r);
    Seen& seen = seen_[r];
    ProcessState process{.life = ProcessState::Life::kThere};
    if (peers_.visible(r)) {
      process = StateOf(static_cast<pid_t>(Load(state.pid)));
      if (process.start_ticks != Load(state.start_ticks)) process.life = ProcessState::Life::kGone;
    }
    if (process.life != ProcessState::Life::kStopped) seen.moving_until = now;
    const uint64_t started = Load(state.started), busy = Load(state.busy);
    const bool moved = started != seen.started || busy != seen.busy;
    seen.started = started;
    seen.busy = busy;
    if (HasComputed(seen, process, now) || moved) last_sign_ = now;
    if (!blocking(r)) continue;
    if (process.life == ProcessState::Life::kGone || Load(state.left) != 0) {
      return absl::UnavailableError(absl::StrCat(what, ": ", Name(peers_, r), " is gone"));
    }
    if (now - seen.moving_until >= patience_.timeout) {
      return absl::DeadlineExceededError(absl::StrCat(what, ": ", Name(peers_, r),
                                                      " has been stopped by a signal for ",
                                                      Seconds(now - seen.moving_until), " s"));
    }
  }
  if (!patience_.signs_needed || now - last_sign_ < patience_.timeout) return absl::OkStatus();
  std::string awaited;
  for (uint32_t r = 0; r < peers_.size(); ++r) {
    if (r == peers_.rank() || !blocking(r)) continue;
    absl::StrAppend(&awaited, awaited.empty() ? "" : ", ", Name(peers_, r));
  }
  return absl::DeadlineExceededError(absl::StrCat(what, ": no rank has shown a sign of life for ",
                                                  Seconds(now - last_sign_), " s; waiting for ",
                                                  awaited));
}

bool Watch::HasComputed(Seen& seen, const ProcessState& process, Clock::time_point now) {
  if (seen.cpu_ticks == 0) seen.cpu_ticks = process.cpu_ticks;
  if (now - seen.cpu_at < kCpuWindow) return false;
  const double used = static_cast<double>(process.cpu_ticks - seen.cpu_ticks) /
                      static_cast<double>(TicksPerSecond());
  const bool computed =
      process.cpu_ticks > seen.cpu_ticks && used * 8 >= Seconds(now - seen.cpu_at);
  seen.cpu_ticks = process.cpu_ticks;
  seen.cpu_at = now;
  return computed;
}

}  // namespace atl::shared
