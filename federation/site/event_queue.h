// The one thread that decides, and how the others reach it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>

namespace atl::site {

// A bounded queue of what has happened, each a function that the event loop's thread runs. Any
// thread pushes, one pops. Whoever destroys a pushing thread sets its `cancelled` flag, calls
// Wake() and joins, so a full queue never blocks that.
class EventQueue {
 public:
  using Event = std::function<void()>;

  explicit EventQueue(size_t capacity) : capacity_(capacity) {}

  // Waits while the queue is full. False, and the event is dropped, when the queue is closed or
  // `cancelled` (may be null) has become true.
  bool Push(Event event, const std::atomic<bool>* cancelled = nullptr);
  // The next event; none when timeout_ms have passed or the queue is closed.
  std::optional<Event> Pop(int timeout_ms);
  // Nothing is pushed or popped any more; wakes everyone. What is queued is dropped.
  void Close();
  bool closed() const;
  // Makes waiting pushers look at their flag.
  void Wake();

 private:
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable room_, something_;
  std::deque<Event> events_;
  bool closed_ = false;
};

}  // namespace atl::site
