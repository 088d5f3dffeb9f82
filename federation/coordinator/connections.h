// The control streams that are open, and what waits to be sent on each.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "comms/base/ids.h"
#include "comms/rpc/atoll.pb.h"

namespace atl::coordinator {

// One control stream's outgoing side: a bounded queue between the event loop, which pushes, and the
// stream's writer, which pops. Thread-safe.
class Connection {
 public:
  // `cancel` ends the stream's call, from any thread; it is not called after Detach.
  Connection(SiteId site, std::function<void()> cancel) : site_(site), cancel_(std::move(cancel)) {}

  SiteId site() const { return site_; }
  // A peer that does not read until the queue is full loses its stream.
  void Push(v1::CoordinatorMessage message);
  // Waits for a message; false when the connection is closed.
  bool Pop(v1::CoordinatorMessage& message);
  // Ends the stream.
  void Close();
  // The call is over: there is nothing left to cancel.
  void Detach();

  static constexpr size_t kMaxMessages = 1024;
  static constexpr size_t kMaxBytes = 64 << 20;

 private:
  void CloseLocked();

  const SiteId site_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> cancel_;
  std::deque<v1::CoordinatorMessage> queue_;
  size_t bytes_ = 0;
  bool closed_ = false;
};

// Which connection is a site's. Thread-safe.
class Connections {
 public:
  // The connection is the site's from now on; one it had before is closed.
  void Put(std::shared_ptr<Connection> connection);
  // True when `connection` was the site's until now.
  bool Remove(const Connection& connection);
  bool Has(SiteId site) const;
  // Nothing happens when the site is not connected.
  void Send(SiteId to, v1::CoordinatorMessage message);
  void SendToAll(const v1::CoordinatorMessage& message);
  void CloseAll();

 private:
  mutable std::mutex mutex_;
  std::map<SiteId, std::shared_ptr<Connection>> connections_;
};

}  // namespace atl::coordinator
