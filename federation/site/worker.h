// A thread for what takes long: downloads, uploads, the server's step.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "grpcpp/grpcpp.h"

namespace atl::site {

// Ends a task early, also one that waits in a call. Thread-safe.
class Cancellation {
 public:
  // Also cancels the call that is attached now, and later ones as they are attached.
  void Cancel();
  const std::atomic<bool>& flag() const { return cancelled_; }
  bool cancelled() const { return cancelled_; }
  // False when cancelled before the time was up.
  bool SleepFor(int ms);

  // While it lives, Cancel() also cancels the call of `context`.
  class Call {
   public:
    Call(Cancellation& cancellation, grpc::ClientContext& context);
    ~Call();

   private:
    Cancellation& cancellation_;
  };

 private:
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::condition_variable condition_;
  grpc::ClientContext* context_ = nullptr;
};

// Runs tasks one after another. Start is called by one thread. Destruction cancels all and waits
// for the running one, which must look at its Cancellation.
class Worker {
 public:
  using Task = std::function<void(Cancellation&)>;

  Worker();
  ~Worker();
  // At most kMaxTasks wait; null, and nothing happens, when there are more.
  std::shared_ptr<Cancellation> Start(Task task);

  static constexpr size_t kMaxTasks = 16;

 private:
  struct Entry {
    Task task;
    std::shared_ptr<Cancellation> cancellation;
  };
  void Loop();

  std::mutex mutex_;
  std::condition_variable condition_;
  std::deque<Entry> waiting_;
  std::shared_ptr<Cancellation> running_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace atl::site
