// Batches made ahead of their use by a thread of their own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"

namespace atl::trainer {

// Calls make(0), make(1), ... make(steps - 1) in this order on its own thread, at most `ahead` > 0
// of them before Next() asks for them, so that the results are those of calling make in place. The
// first error, or exception (as INTERNAL), ends the thread and comes out of Next() in its turn.
// Next() is called by one thread. Destruction waits for the call of make that runs.
template <typename T>
class Prefetcher {
 public:
  using Make = std::function<absl::StatusOr<T>(uint32_t step)>;

  Prefetcher(Make make, uint32_t steps, size_t ahead)
      : make_(std::move(make)), steps_(steps), ahead_(ahead), thread_([this] { Run(); }) {}
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;
  ~Prefetcher() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  // OUT_OF_RANGE after the last step; after an error, that error again.
  absl::StatusOr<T> Next() {
    std::unique_lock lock(mutex_);
    if (!failed_.ok()) return failed_;
    if (taken_ == steps_) return absl::OutOfRangeError("no more batches");
    changed_.wait(lock, [this] { return !ready_.empty(); });
    absl::StatusOr<T> next = std::move(ready_.front());
    ready_.pop_front();
    ++taken_;
    if (!next.ok()) failed_ = next.status();
    lock.unlock();
    changed_.notify_all();
    return next;
  }

 private:
  absl::StatusOr<T> MakeOne(uint32_t step) const {
    try {
      return make_(step);
    } catch (const std::exception& error) {
      return absl::InternalError(std::string("making a batch: ") + error.what());
    }
  }

  void Run() {
    for (uint32_t step = 0; step < steps_; ++step) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || ready_.size() < ahead_; });
        if (stopping_) return;
      }
      absl::StatusOr<T> batch = MakeOne(step);
      const bool last = !batch.ok();
      {
        std::lock_guard lock(mutex_);
        ready_.push_back(std::move(batch));
      }
      changed_.notify_all();
      if (last) return;
    }
  }

  const Make make_;
  const uint32_t steps_;
  const size_t ahead_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<absl::StatusOr<T>> ready_;  // guarded by mutex_, as what follows
  absl::Status failed_;
  uint32_t taken_ = 0;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace atl::trainer
