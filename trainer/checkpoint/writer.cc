#include "trainer/checkpoint/writer.h"

#include <pthread.h>

#include <csignal>
#include <utility>

#include "comms/base/status.h"

namespace atl::trainer {

CheckpointWriter::CheckpointWriter(CheckpointFolder folder) : folder_(std::move(folder)) {
  // Signals are the training thread's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

CheckpointWriter::~CheckpointWriter() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

absl::StatusOr<Checkpoint> CheckpointWriter::Take() {
  ATOLL_RETURN_IF_ERROR(Wait());
  return std::move(checkpoint_);
}

void CheckpointWriter::Start(Checkpoint checkpoint) {
  {
    std::lock_guard lock(mutex_);
    checkpoint_ = std::move(checkpoint);
    busy_ = true;
  }
  changed_.notify_all();
}

absl::Status CheckpointWriter::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !busy_; });
  return status_;
}

std::string CheckpointWriter::last_good() const {
  std::lock_guard lock(mutex_);
  return last_good_;
}

void CheckpointWriter::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return busy_ || stopping_; });
    if (!busy_) return;
    lock.unlock();
    auto path = folder_.Write(checkpoint_);
    lock.lock();
    if (path.ok()) last_good_ = path->string();
    status_.Update(Annotate(path.status(), "writing a checkpoint"));
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace atl::trainer
