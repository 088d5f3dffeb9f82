// Time comes in through an interface, so that a federation can run under a simulated clock.
#pragma once

#include <cstdint>
#include <string>

namespace atl {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic milliseconds since an arbitrary start; for timeouts and durations.
  virtual int64_t NowMs() = 0;
  // Milliseconds since the Unix epoch; for people, never for protocol decisions.
  virtual int64_t UnixMs() = 0;
};

// Thread-safe; never destroyed.
Clock& RealClock();

// Moves only when told to. Not thread-safe.
class SimulatedClock : public Clock {
 public:
  int64_t NowMs() override { return now_ms_; }
  int64_t UnixMs() override { return 1'700'000'000'000 + now_ms_; }
  void AdvanceMs(int64_t by_ms) { now_ms_ += by_ms; }

 private:
  int64_t now_ms_ = 0;
};

// "2026-11-22T15:20:41.123Z".
std::string FormatUtc(int64_t unix_ms);

}  // namespace atl
