// Private to TrainerHost: the threads of one launch.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "comms/base/clock.h"
#include "comms/sitelink/link.h"
#include "federation/site/event_queue.h"
#include "federation/store/blob_store.h"

namespace atl::site {

// Accepts the trainer's connection, then reads in one thread and writes in another. Created and
// destroyed on the event loop's thread; destruction ends the link and joins both.
class TrainerSession {
 public:
  struct Outgoing {
    std::shared_ptr<const store::BlobReader> model;  // may be null
    sitelink::Frame frame;
  };
  // Called on the event loop's thread.
  using OnFrame = std::function<void(sitelink::Frame)>;
  using OnEnd = std::function<void(const absl::Status&)>;

  TrainerSession(std::unique_ptr<sitelink::Listener> listener, EventQueue& queue, Clock& clock,
                 OnFrame on_frame, OnEnd on_end);
  ~TrainerSession();

  void Send(Outgoing outgoing);
  void Close();
  // When bytes last moved in either direction.
  int64_t last_activity_ms() const { return last_activity_ms_; }
  bool connected() const { return connected_; }

 private:
  void ReadLoop();
  void WriteLoop();
  absl::Status Write(sitelink::Link& link, const Outgoing& outgoing);
  void Tell(std::function<void()> event);

  EventQueue& queue_;
  Clock& clock_;
  const OnFrame on_frame_;
  const OnEnd on_end_;
  std::unique_ptr<sitelink::Listener> listener_;
  std::atomic<bool> ending_ = false, connected_ = false;
  std::atomic<int64_t> last_activity_ms_ = 0;
  // Events that are still queued when the session has gone do nothing.
  const std::shared_ptr<std::atomic<bool>> alive_ = std::make_shared<std::atomic<bool>>(true);

  std::mutex mutex_;  // guards what follows
  std::condition_variable condition_;
  std::deque<Outgoing> outgoing_;
  std::unique_ptr<sitelink::Link> link_;  // set once

  std::thread reader_, writer_;
};

}  // namespace atl::site
