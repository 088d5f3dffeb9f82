// Which vectors may be uploaded now: those whose commit was accepted, until their round goes on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "comms/base/bytes.h"
#include "comms/base/ids.h"
#include "federation/coordinator/events.h"

namespace atl::coordinator {

// A vector that may come. Shared by the table and the calls that upload it.
struct Admission {
  AllowUpload allowed;
  std::atomic<bool> open = true;   // false once the round went on
  std::atomic<bool> busy = false;  // a call is writing it
};

// The event loop opens and closes, the service's calls look up. Thread-safe.
class Uploads {
 public:
  void Open(const AllowUpload& allowed);  // again for the same commit: nothing changes
  void Close(JobId job, RoundId round, SlotId slot);
  void CloseAll();
  // Waits up to timeout_ms for the commit, which may still be on its way to the event loop. Null
  // when it does not come.
  std::shared_ptr<Admission> Find(const store::VectorId& id, int timeout_ms);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  std::map<store::VectorId, std::shared_ptr<Admission>> open_;
};

}  // namespace atl::coordinator
