#include "federation/site/control_stream.h"

#include <algorithm>
#include <utility>

#include "comms/base/log.h"
#include "comms/base/random.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"

namespace atl::site {
namespace {

constexpr int kBackoffMinMs = 200;
constexpr int kBackoffMaxMs = 5'000;

// Between half of `ms` and all of it, so that sites do not come back all at once.
int WithJitter(int ms) {
  uint8_t byte = 0;
  SystemRandom().Fill({&byte, 1});
  return ms / 2 + ms * byte / 510;
}

// Codes that tell that the coordinator will never have us, rather than not now.
bool IsFinal(const absl::Status& status) {
  return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) ||
         absl::IsInvalidArgument(status);
}

}  // namespace

ControlStream::ControlStream(std::shared_ptr<grpc::Channel> channel, std::string address,
                             MakeHello hello, EventQueue& queue, ControlEvents& events)
    : channel_(std::move(channel)),
      address_(std::move(address)),
      hello_(std::move(hello)),
      queue_(queue),
      events_(events),
      thread_([this] { Run(); }) {}

ControlStream::~ControlStream() {
  stopped_.Cancel();
  queue_.Wake();
  thread_.join();
}

void ControlStream::Send(v1::SiteMessage message) {
  std::lock_guard lock(mutex_);
  if (!open_) return;
  if (outbox_.size() >= kMaxQueued) {
    spdlog::error("the coordinator has not read for {} messages; reconnecting", outbox_.size());
    context_->TryCancel();
    return;
  }
  outbox_.push_back(std::move(message));
  outgoing_.notify_one();
}

void ControlStream::SendProgress(v1::SiteMessage message) {
  {
    std::lock_guard lock(mutex_);
    if (outbox_.size() >= kMaxQueuedProgress) return;
  }
  Send(std::move(message));
}

void ControlStream::Run() {
  int backoff_ms = kBackoffMinMs;
  bool told = false;  // of this outage
  while (!stopped_.cancelled()) {
    bool welcomed = false;
    absl::Status why;
    const End end = Serve(welcomed, why);
    if (stopped_.cancelled()) return;
    if (end == End::kFinal) {
      queue_.Push([this, why] { events_.OnRefused(why); }, &stopped_.flag());
      return;
    }
    if (welcomed) {
      backoff_ms = kBackoffMinMs;
      told = false;
      if (!queue_.Push([this, why] { events_.OnDisconnected(why); }, &stopped_.flag())) return;
    }
    if (!told) spdlog::warn("coordinator {}: {}; trying again", address_, ToString(why));
    told = true;
    if (!stopped_.SleepFor(WithJitter(backoff_ms))) return;
    backoff_ms = std::min(2 * backoff_ms, kBackoffMaxMs);
  }
}

ControlStream::End ControlStream::Serve(bool& welcomed, absl::Status& why) {
  grpc::ClientContext context;
  Cancellation::Call call(stopped_, context);
  std::unique_ptr<Stream> stream = v1::Coordinator::NewStub(channel_)->Control(&context);
  const auto finish = [&](End otherwise) {
    why = rpc::FromGrpc(stream->Finish());
    if (why.ok()) why = absl::UnavailableError("it closed the connection");
    return IsFinal(why) ? End::kFinal : otherwise;
  };

  v1::CoordinatorMessage message;
  if (!stream->Read(&message)) return finish(End::kRetry);
  if (!message.has_challenge()) {
    context.TryCancel();
    finish(End::kRetry);
    why = absl::InternalError("its first message is not a challenge");
    return End::kRetry;
  }
  absl::StatusOr<v1::Hello> hello = hello_(message.challenge());
  if (!hello.ok()) {
    context.TryCancel();
    finish(End::kFinal);
    why = hello.status();
    return End::kFinal;
  }
  v1::SiteMessage first;
  *first.mutable_hello() = *std::move(hello);
  const bool written = stream->Write(first);
  bool answered = stream->Read(&message);
  // gRPC gives a call's status only after all that has come was read.
  while (!written && answered) answered = stream->Read(&message);
  if (!answered) return finish(End::kRetry);
  if (!message.has_welcome()) {
    context.TryCancel();
    finish(End::kRetry);
    why = absl::InternalError("its answer to our hello is not a welcome");
    return End::kRetry;
  }

  welcomed = true;
  {
    std::lock_guard lock(mutex_);
    outbox_.clear();
    open_ = true;
    context_ = &context;
  }
  std::thread writer([&] { WriteLoop(*stream); });
  bool going = queue_.Push([this] { events_.OnWelcome(); }, &stopped_.flag());
  while (going && stream->Read(&message)) {
    if (message.has_ping()) {
      v1::SiteMessage pong;
      pong.mutable_pong();
      Send(std::move(pong));
      continue;
    }
    going = queue_.Push([this, moved = std::make_shared<v1::CoordinatorMessage>(
                                   std::move(message))] { events_.OnMessage(*moved); },
                        &stopped_.flag());
    message.Clear();
  }
  CloseOutbox();
  context.TryCancel();  // frees a writer that waits for a peer which does not read
  writer.join();
  // A refusal after the welcome is of one message; redialling may well help.
  finish(End::kRetry);
  return End::kRetry;
}

void ControlStream::WriteLoop(Stream& stream) {
  while (true) {
    v1::SiteMessage message;
    {
      std::unique_lock lock(mutex_);
      outgoing_.wait(lock, [&] { return !open_ || !outbox_.empty(); });
      if (!open_) return;
      message = std::move(outbox_.front());
      outbox_.pop_front();
    }
    if (!stream.Write(message)) return;  // the reader sees the end, too
  }
}

void ControlStream::CloseOutbox() {
  std::lock_guard lock(mutex_);
  open_ = false;
  context_ = nullptr;
  outbox_.clear();
  outgoing_.notify_all();
}

}  // namespace atl::site
