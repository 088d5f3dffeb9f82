// A CUDA and an NCCL in memory, behind the table of gpu_api.h, with faults on demand.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "comms/collectives/nccl/gpu_api.h"
#include "comms/collectives/nccl/gpu_status.h"

namespace atl::testing {

// One rank's GPU and libraries. Ranks that connect with one id sum for real, from several threads
// or from one. The thread that is to use a GPU calls Use() first. Outlives what was made with it.
class FakeGpu {
 public:
  FakeGpu();
  ~FakeGpu();
  FakeGpu(const FakeGpu&) = delete;
  FakeGpu& operator=(const FakeGpu&) = delete;

  static const AtollGpuApi& Api();
  void Use();  // by the calling thread
  // From now on a thread that uses none gets one of its own.
  static void OneForEachThread();

  // The `nth` call (from 1) of this name, and all after it, give `code`.
  void Fail(const std::string& call, int code, int nth = 1);
  // How many times NCCL says "in progress" before it has taken a call that it could take at once.
  void TakeSlowly(int polls) { slow_polls_ = polls; }
  // NCCL never says more than "in progress" to calls from now on.
  void NeverTake() { never_take_ = true; }
  // What happens in the background, to be found by the next look.
  void BackgroundError(int code) { background_error_ = code; }
  // The other ranks are there at once, and bring the same values: one thread is enough.
  void PlayPeers() { play_peers_ = true; }
  // Work on the default stream, which operations that start later must wait for.
  void QueueOnDefaultStream() { ++default_queued_; }
  void FinishDefaultStream() { default_done_ = default_queued_; }
  void FinishOneOfDefaultStream() { ++default_done_; }

  int Calls(const std::string& call) const;
  std::set<std::string> CallNames() const;
  // Streams, events, memory and communicators that were not given back.
  int Alive() const { return alive_; }

 private:
  friend struct FakeCalls;
  int Enter(const char* call);

  std::map<std::string, std::pair<int, int>> faults_;  // call: (nth, code)
  std::map<std::string, int> calls_;
  int slow_polls_ = 0, background_error_ = kNcclSuccess, alive_ = 0;
  bool never_take_ = false, play_peers_ = false;
  int64_t default_queued_ = 0, default_done_ = 0;
  int group_depth_ = 0;
};

// A clock that moves by sleeping alone.
struct FakeTime {
  int64_t now_us = 0, longest_sleep_us = 0;
  uint64_t sleeps = 0;
  std::function<void()> on_sleep;  // empty: nothing

  std::function<int64_t()> Now() {
    return [this] { return now_us; };
  }
  std::function<void(int64_t)> Sleep();
};

}  // namespace atl::testing
