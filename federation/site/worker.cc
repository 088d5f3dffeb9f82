#include "federation/site/worker.h"

#include <chrono>
#include <utility>

namespace atl::site {

void Cancellation::Cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (context_ != nullptr) context_->TryCancel();
  condition_.notify_all();
}

bool Cancellation::SleepFor(int ms) {
  std::unique_lock lock(mutex_);
  return !condition_.wait_for(lock, std::chrono::milliseconds(ms),
                              [&] { return cancelled_.load(); });
}

Cancellation::Call::Call(Cancellation& cancellation, grpc::ClientContext& context)
    : cancellation_(cancellation) {
  std::lock_guard lock(cancellation_.mutex_);
  cancellation_.context_ = &context;
  if (cancellation_.cancelled_) context.TryCancel();
}

Cancellation::Call::~Call() {
  std::lock_guard lock(cancellation_.mutex_);
  cancellation_.context_ = nullptr;
}

Worker::Worker() : thread_([this] { Loop(); }) {}

Worker::~Worker() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    waiting_.clear();
    if (running_) running_->Cancel();
    condition_.notify_all();
  }
  thread_.join();
}

std::shared_ptr<Cancellation> Worker::Start(Task task) {
  std::lock_guard lock(mutex_);
  if (waiting_.size() >= kMaxTasks) return nullptr;
  auto cancellation = std::make_shared<Cancellation>();
  waiting_.push_back({std::move(task), cancellation});
  condition_.notify_all();
  return cancellation;
}

void Worker::Loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    condition_.wait(lock, [&] { return ending_ || !waiting_.empty(); });
    if (ending_) return;
    Entry entry = std::move(waiting_.front());
    waiting_.pop_front();
    if (entry.cancellation->cancelled()) continue;
    running_ = entry.cancellation;
    lock.unlock();
    entry.task(*entry.cancellation);
    entry.task = nullptr;
    lock.lock();
    running_ = nullptr;
  }
}

}  // namespace atl::site
