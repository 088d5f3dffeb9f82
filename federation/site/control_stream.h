// The stream that a site keeps open to its coordinator.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "comms/rpc/atoll.grpc.pb.h"
#include "federation/site/event_queue.h"
#include "federation/site/worker.h"

namespace atl::site {

// What happens on the stream, told on the event loop's thread.
class ControlEvents {
 public:
  virtual ~ControlEvents() = default;
  virtual void OnWelcome() = 0;                                       // connected, and accepted
  virtual void OnMessage(const v1::CoordinatorMessage& message) = 0;  // after the welcome
  virtual void OnDisconnected(const absl::Status& why) = 0;  // after a welcome; redials by itself
  virtual void OnRefused(const absl::Status& why) = 0;       // the end: no redialling would help
};

// Dials, answers the challenge, reads; redials 0.2 to 5 s after a failure (doubling, with jitter).
// What was queued on a connection goes with it: the coordinator asks again. Send and destruction by
// the event loop's thread. Outlived by channel, queue and events.
class ControlStream {
 public:
  // An error of `hello` (another roster, another protocol version) is final.
  using MakeHello = std::function<absl::StatusOr<v1::Hello>(const v1::Challenge&)>;

  ControlStream(std::shared_ptr<grpc::Channel> channel, std::string address, MakeHello hello,
                EventQueue& queue, ControlEvents& events);
  ~ControlStream();

  // Queues a message. Nothing is sent while there is no connection. When kMaxQueued wait, which a
  // coordinator that reads never lets happen, the connection is given up.
  void Send(v1::SiteMessage message);
  // The same for what may be lost: dropped unless the queue is nearly empty.
  void SendProgress(v1::SiteMessage message);

  static constexpr size_t kMaxQueued = 1024;
  static constexpr size_t kMaxQueuedProgress = 16;

 private:
  using Stream = grpc::ClientReaderWriter<v1::SiteMessage, v1::CoordinatorMessage>;
  enum class End { kRetry, kFinal };

  void Run();
  // One connection, from dialling to its end; `welcomed` says whether it was accepted.
  End Serve(bool& welcomed, absl::Status& why);
  void WriteLoop(Stream& stream);
  void CloseOutbox();

  const std::shared_ptr<grpc::Channel> channel_;
  const std::string address_;
  const MakeHello hello_;
  EventQueue& queue_;
  ControlEvents& events_;
  Cancellation stopped_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable outgoing_;
  std::deque<v1::SiteMessage> outbox_;
  bool open_ = false;
  grpc::ClientContext* context_ = nullptr;

  std::thread thread_;
};

}  // namespace atl::site
