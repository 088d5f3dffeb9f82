#include "trainer/serve/inbox.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "comms/base/status.h"
#include "comms/sitelink/messages.h"

namespace atl::trainer {
namespace {

constexpr size_t kMaxWaiting = 8;
// For an orderly end: short when nobody is there to hear the reason any more.
constexpr std::chrono::milliseconds kGraceClosed{500};
constexpr std::chrono::milliseconds kGrace{5000};

bool IsStop(const sitelink::Frame& frame) {
  return frame.type == static_cast<uint16_t>(sitelink::MessageType::kStop);
}

}  // namespace

Inbox::Inbox(std::unique_ptr<sitelink::Link> link)
    : link_(std::move(link)), reader_([this] { Read(); }) {}

Inbox::~Inbox() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  link_->Close();
  reader_.join();
}

absl::StatusOr<sitelink::Frame> Inbox::Next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !frames_.empty() || !status_.ok(); });
  if (frames_.empty()) return status_;
  sitelink::Frame frame = std::move(frames_.front());
  frames_.pop_front();
  changed_.notify_all();
  return frame;
}

void Inbox::SetBusy(bool busy) {
  std::lock_guard lock(mutex_);
  busy_ = busy;
  if (busy && !frames_.empty() && !IsStop(frames_.front())) {
    status_.Update(
        absl::FailedPreconditionError("the agent sent a command before the last one was answered"));
    stop_ = true;
  }
}

absl::Status Inbox::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

void Inbox::Read() {
  while (true) {
    absl::StatusOr<sitelink::Frame> frame = link_->Receive(-1);
    std::unique_lock lock(mutex_);
    if (frame.ok() && busy_ && !IsStop(*frame)) {
      frame = absl::FailedPreconditionError(absl::StrCat("the agent sent a message of type ",
                                                         frame->type,
                                                         " before the last command was answered"));
    }
    if (!frame.ok()) {
      status_.Update(frame.status());
      stop_ = true;
      changed_.notify_all();
      // What the main thread does may take long or hang: give up on an orderly end after a while.
      auto grace = absl::IsUnavailable(status_) ? kGraceClosed : kGrace;
      if (!changed_.wait_for(lock, grace, [&] { return ending_; })) {
        std::fprintf(stderr, "atoll-trainer: %s\n", ToString(status_).c_str());
        std::_Exit(1);
      }
      return;
    }
    bool stop = IsStop(*frame);
    frames_.push_back(*std::move(frame));
    if (stop) stop_ = true;
    changed_.notify_all();
    if (stop) return;  // what follows, the closing of the link too, no longer matters
    changed_.wait(lock, [&] { return frames_.size() < kMaxWaiting || ending_; });
    if (ending_) return;
  }
}

}  // namespace atl::trainer
