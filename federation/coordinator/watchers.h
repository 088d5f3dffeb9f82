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
  };
  // Waits up to timeout_ms.
  News Wait(int timeout_ms);

 private:
  friend class Watchers;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool more_in_log_ = true;
  bool stopped_ = false;
  std::map<uint32_t, v1::JobEvent> progress_;  // by site
};

// Thread-safe.
class Watchers {
 public:
  // Null when there are kMax already, or after StopAll.
  std::shared_ptr<Watcher> Add(JobId job);
  void Remove(JobId job, const std::shared_ptr<Watcher>& watcher);
  void MoreInLog(JobId job);
  void Progress(JobId job, const v1::JobEvent& event);
  void StopAll();

  static constexpr size_t kMax = 256;

 private:
  std::mutex mutex_;
  bool stopped_ = false;
  std::multimap<JobId, std::shared_ptr<Watcher>> watchers_;
};

}  // namespace atl::coordinator
