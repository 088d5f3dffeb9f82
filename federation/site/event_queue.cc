#include "federation/site/event_queue.h"

#include <chrono>
#include <utility>

namespace atl::site {

bool EventQueue::Push(Event event, const std::atomic<bool>* cancelled) {
  const auto given_up = [&] { return closed_ || (cancelled != nullptr && *cancelled); };
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] { return given_up() || events_.size() < capacity_; });
  if (given_up()) return false;
  events_.push_back(std::move(event));
  something_.notify_one();
  return true;
}

std::optional<EventQueue::Event> EventQueue::Pop(int timeout_ms) {
  std::unique_lock lock(mutex_);
  something_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                      [&] { return closed_ || !events_.empty(); });
  if (closed_ || events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  room_.notify_one();
  return event;
}

void EventQueue::Close() {
  std::deque<Event> dropped;  // destroyed after the lock: an event may hold anything
  std::lock_guard lock(mutex_);
  closed_ = true;
  dropped.swap(events_);
  room_.notify_all();
  something_.notify_all();
}

bool EventQueue::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

void EventQueue::Wake() {
  std::lock_guard lock(mutex_);
  room_.notify_all();
}

}  // namespace atl::site
