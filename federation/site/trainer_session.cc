#include "federation/site/trainer_session.h"

#include <utility>

#include "comms/base/status.h"
#include "comms/sitelink/messages.h"

namespace atl::site {
namespace {

constexpr int kAcceptSliceMs = 100;

}  // namespace

TrainerSession::TrainerSession(std::unique_ptr<sitelink::Listener> listener, EventQueue& queue,
                               Clock& clock, OnFrame on_frame, OnEnd on_end)
    : queue_(queue),
      clock_(clock),
      on_frame_(std::move(on_frame)),
      on_end_(std::move(on_end)),
      listener_(std::move(listener)),
      last_activity_ms_(clock.NowMs()),
      reader_([this] { ReadLoop(); }),
      writer_([this] { WriteLoop(); }) {}

TrainerSession::~TrainerSession() {
  *alive_ = false;
  Close();
  queue_.Wake();
  reader_.join();
  writer_.join();
}

void TrainerSession::Close() {
  ending_ = true;
  std::lock_guard lock(mutex_);
  if (link_) link_->Close();
  condition_.notify_all();
}

void TrainerSession::Send(Outgoing outgoing) {
  std::lock_guard lock(mutex_);
  outgoing_.push_back(std::move(outgoing));
  condition_.notify_all();
}

void TrainerSession::Tell(std::function<void()> event) {
  queue_.Push(
      [alive = alive_, event = std::move(event)] {
        if (*alive) event();
      },
      &ending_);
}

void TrainerSession::ReadLoop() {
  sitelink::Link* link = nullptr;
  while (link == nullptr && !ending_) {
    absl::StatusOr<std::unique_ptr<sitelink::Link>> accepted = listener_->Accept(kAcceptSliceMs);
    if (accepted.ok()) {
      std::lock_guard lock(mutex_);
      link_ = *std::move(accepted);
      link = link_.get();
      if (ending_) link->Close();
      connected_ = true;
      condition_.notify_all();
    } else if (!absl::IsDeadlineExceeded(accepted.status())) {
      Tell([this, why = accepted.status()] { on_end_(why); });
      return;
    }
  }
  while (!ending_) {
    absl::StatusOr<sitelink::Frame> frame = link->Receive(-1);
    if (!frame.ok()) {
      Tell([this, why = frame.status()] { on_end_(why); });
      return;
    }
    last_activity_ms_ = clock_.NowMs();
    Tell([this, moved = std::make_shared<sitelink::Frame>(*std::move(frame))] {
      on_frame_(std::move(*moved));
    });
  }
}

void TrainerSession::WriteLoop() {
  while (true) {
    Outgoing next;
    sitelink::Link* link = nullptr;
    {
      std::unique_lock lock(mutex_);
      condition_.wait(lock, [&] { return ending_ || (link_ != nullptr && !outgoing_.empty()); });
      if (ending_) return;
      next = std::move(outgoing_.front());
      outgoing_.pop_front();
      link = link_.get();
    }
    const absl::Status status = Write(*link, next);
    if (status.ok()) continue;
    // A broken link the reader sees, too, after the trainer's last words.
    if (!absl::IsUnavailable(status)) Tell([this, status] { on_end_(status); });
    return;
  }
}

absl::Status TrainerSession::Write(sitelink::Link& link, const Outgoing& outgoing) {
  if (outgoing.model) {
    for (uint32_t i = 0; i < outgoing.model->chunk_count() && !ending_; ++i) {
      ATOLL_ASSIGN_OR_RETURN(Bytes values, outgoing.model->ReadChunk(i));
      ATOLL_RETURN_IF_ERROR(
          sitelink::SendMessage(link, sitelink::ModelChunk{i, std::move(values)}));
      last_activity_ms_ = clock_.NowMs();
    }
  }
  return link.Send(outgoing.frame);
}

}  // namespace atl::site
