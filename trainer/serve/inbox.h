// Rank 0's end of the site link.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"
#include "comms/sitelink/link.h"

namespace atl::trainer {

// Reads the link on a thread of its own, so that Stop and a closed link are seen while the main
// thread trains. Bounded: the thread reads on only when few frames wait. When the link closes, the
// main thread has half a second to end in order (stop() turns true); then this ends the process.
// One consumer; owns the link.
class Inbox {
 public:
  explicit Inbox(std::unique_ptr<sitelink::Link> link);
  ~Inbox();

  // The next frame, waiting as long as it takes. UNAVAILABLE when the link is closed.
  absl::StatusOr<sitelink::Frame> Next();

  // While busy, any frame but Stop is an error of the agent. Errors found so far, OK otherwise.
  void SetBusy(bool busy);
  absl::Status status() const;

  // Whether what runs now should end: Stop came, the link closed, or the agent made an error.
  bool stop() const { return stop_; }

  sitelink::Link& link() { return *link_; }

 private:
  void Read();

  const std::unique_ptr<sitelink::Link> link_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<sitelink::Frame> frames_;
  absl::Status status_;
  bool busy_ = false;
  bool ending_ = false;
  std::atomic<bool> stop_ = false;
  std::thread reader_;
};

}  // namespace atl::trainer
