// Those who watch a job.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "comms/base/ids.h"
#include "comms/rpc/atoll.pb.h"

namespace atl::coordinator {

// One WatchJob call. What the log keeps is read from the log, so that nothing of it is ever
// dropped: a watcher is told only that there is more. Progress is not kept: the newest of each site
// waits here. Thread-safe.
class Watcher {
 public:
  struct News {
    bool more_in_log = false;
    bool stopped = false;
    std::vector<v1::JobEvent> progress;
    std::vector<v1::JobEvent> trace;
    uint64_t trace_lost = 0;  // what came since the last call and did not fit
  };
  // Waits up to timeout_ms.
  News Wait(int timeout_ms);

 private:
  friend class Watchers;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool more_in_log_ = true;
  bool stopped_ = false;
  bool traces_ = false;
  std::map<uint32_t, v1::JobEvent> progress_;  // by site
  std::vector<v1::JobEvent> trace_;
  uint64_t trace_lost_ = 0;
};

// Thread-safe.
class Watchers {
 public:
  // Null when there are kMax already, or after StopAll.
  std::shared_ptr<Watcher> Add(JobId job, bool traces);
  void Remove(JobId job, const std::shared_ptr<Watcher>& watcher);
  void MoreInLog(JobId job);
  void Progress(JobId job, const v1::JobEvent& event);
  // Whether anybody asked for the job's trace: making it costs something.
  bool IsTraced(JobId job);
  void Trace(JobId job, const v1::JobEvent& event);
  void StopAll();

  static constexpr size_t kMax = 256;
  static constexpr size_t kMaxTrace = 20'000;  // messages that wait for one watcher

 private:
  std::mutex mutex_;
  bool stopped_ = false;
  std::multimap<JobId, std::shared_ptr<Watcher>> watchers_;
};

}  // namespace atl::coordinator
