// Service's control streams.

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "comms/base/log.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"
#include "federation/coordinator/service.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::coordinator {
namespace {

constexpr int kHelloTimeoutMs = 10'000;
constexpr int kLastWordsMs = 500;
constexpr size_t kMaxReasonBytes = 4096;
constexpr size_t kMaxPhaseBytes = 64;

Digest Nonce(SecretRandom& random) {
  Digest nonce;
  random.Fill(nonce);
  return nonce;
}

// gRPC's "ipv4:127.0.0.1:4711" and "ipv6:%5B::1%5D:4711".
bool IsFromHere(const std::string& peer) {
  return peer.rfind("ipv4:127.", 0) == 0 || peer.rfind("ipv6:%5B::1%5D", 0) == 0 ||
         peer.rfind("ipv6:[::1]", 0) == 0;
}

// What a peer may say after its Hello. What is longer than it can be for good reason ends the
// stream.
absl::Status CheckMessage(SiteId from, const v1::SiteMessage& message) {
  const auto too_long = [](const std::string& text, size_t limit) { return text.size() > limit; };
  switch (message.body_case()) {
    case v1::SiteMessage::kDecision:
      if (too_long(message.decision().reason(), kMaxReasonBytes)) break;
      return absl::OkStatus();
    case v1::SiteMessage::kSecagg:
      if (from == kEvaluator) return absl::PermissionDeniedError("an evaluator is in no cohort");
      // The log writes down answers without their shares: an empty one would look like one of
      // those.
      if (message.secagg().step() == v1::UNMASK_ANSWER && message.secagg().payload().empty()) {
        return absl::InvalidArgumentError("an answer to the unmask request is empty");
      }
      return absl::OkStatus();
    case v1::SiteMessage::kProgress:
      if (too_long(message.progress().phase(), kMaxPhaseBytes)) break;
      for (const double seconds :
           {message.progress().mask_hidden_s(), message.progress().mask_paid_s()}) {
        if (!std::isfinite(seconds) || seconds < 0) {
          return absl::InvalidArgumentError("a progress report of masks that took no time");
        }
      }
      return absl::OkStatus();
    case v1::SiteMessage::kEvaluation:
      if (from != kEvaluator) return absl::PermissionDeniedError("only an evaluator evaluates");
      if (message.evaluation().correct() > message.evaluation().examples() ||
          !std::isfinite(message.evaluation().loss_sum())) {
        return absl::InvalidArgumentError("an evaluation whose numbers make no sense");
      }
      return absl::OkStatus();
    case v1::SiteMessage::kFailure:
      if (too_long(message.failure().reason(), kMaxReasonBytes)) break;
      return absl::OkStatus();
    case v1::SiteMessage::kPong:
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError("a message that is not known, or a second Hello");
  }
  return absl::InvalidArgumentError("a text in the message is too long");
}

}  // namespace

absl::StatusOr<SiteId> Service::CheckHello(const grpc::ServerContext& context, ByteView nonce,
                                           const v1::Hello& hello) const {
  if (hello.protocol_version() != rpc::kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat("protocol version ", hello.protocol_version(),
                                                      ": this coordinator speaks version ",
                                                      rpc::kProtocolVersion));
  }
  const auto in_range = [](double value) {
    return std::isfinite(value) && value >= 0 && value <= 1e9;
  };
  if (!in_range(hello.cpus()) || !in_range(hello.memory_gb())) {
    return absl::InvalidArgumentError("hello: cpus and memory must be in [0, 1e9]");
  }
  if (hello.role() == v1::ROLE_EVALUATOR) {
    // It proves nothing, sees public models only and takes part in nothing: anybody on this machine
    // may.
    if (!IsFromHere(context.peer())) {
      return absl::PermissionDeniedError(
          "an evaluator without an identity must run on the coordinator's machine");
    }
    return kEvaluator;
  }
  const SiteId site(hello.site_id());
  const secagg::RosterEntry* entry = coordinator_.roster().Find(site);
  if (hello.role() != v1::ROLE_SITE || site == kEvaluator || entry == nullptr) {
    return absl::PermissionDeniedError(
        absl::StrCat("site ", hello.site_id(), " is not in this coordinator's roster"));
  }
  ByteWriter signed_bytes;
  signed_bytes.Raw(AsBytes("atoll/hello/v1")).Raw(nonce);
  Signature signature{};
  if (hello.signature().size() != signature.size()) {
    return absl::UnauthenticatedError(
        absl::StrCat("hello of site ", hello.site_id(), ": it is not signed"));
  }
  std::copy(hello.signature().begin(), hello.signature().end(), signature.begin());
  if (!coordinator_.suite().Verify(entry->identity, signed_bytes.bytes(), signature)) {
    return absl::UnauthenticatedError(
        absl::StrCat("hello of site ", hello.site_id(), ": its signature does not verify"));
  }
  return site;
}

grpc::Status Service::Control(grpc::ServerContext* context, Stream* stream) {
  const Digest nonce = Nonce(coordinator_.random());
  v1::CoordinatorMessage challenge;
  challenge.mutable_challenge()->set_protocol_version(rpc::kProtocolVersion);
  challenge.mutable_challenge()->set_nonce(nonce.data(), nonce.size());
  challenge.mutable_challenge()->set_roster_digest(coordinator_.roster().digest().data(), 32);
  if (!stream->Write(challenge)) return grpc::Status::CANCELLED;

  // The writer's thread first sees to it that a Hello comes in time.
  std::mutex mutex;
  std::condition_variable changed;
  bool decided = false, written = false;
  std::shared_ptr<Connection> connection;
  std::thread writer([&] {
    {
      std::unique_lock lock(mutex);
      if (!changed.wait_for(lock, std::chrono::milliseconds(kHelloTimeoutMs),
                            [&] { return decided; })) {
        context->TryCancel();
        changed.wait(lock, [&] { return decided; });
      }
    }
    v1::CoordinatorMessage message;
    while (connection != nullptr && connection->Pop(message)) {
      if (!stream->Write(message)) break;
    }
    if (connection != nullptr) connection->Close();
    std::lock_guard lock(mutex);
    written = true;
    changed.notify_all();
  });
  const auto decide = [&](std::shared_ptr<Connection> welcomed) {
    std::lock_guard lock(mutex);
    connection = std::move(welcomed);
    decided = true;
    changed.notify_all();
  };

  absl::Status status;
  v1::SiteMessage hello;
  if (!stream->Read(&hello)) {
    status = absl::CancelledError("the stream was closed before its Hello");
  } else if (hello.body_case() != v1::SiteMessage::kHello) {
    status = absl::InvalidArgumentError("the first message must be a Hello");
  } else if (auto site = CheckHello(*context, nonce, hello.hello()); !site.ok()) {
    status = site.status();
    spdlog::warn("{} was refused: {}", context->peer(), ToString(status));
  } else if (*site == kEvaluator && coordinator_.connections().Has(kEvaluator)) {
    status = absl::AlreadyExistsError("there is an evaluator already");
  } else {
    auto welcomed = std::make_shared<Connection>(*site, [context] { context->TryCancel(); });
    v1::CoordinatorMessage welcome;
    welcome.mutable_welcome();
    welcomed->Push(std::move(welcome));
    decide(welcomed);
    coordinator_.Attach(welcomed, hello.hello().cpus(), hello.hello().memory_gb());
    status = Serve(*welcomed, *stream);
    coordinator_.Detach(*welcomed,
                        status.ok() ? "connection closed" : std::string(status.message()));
    // Not Close: that would cancel the call, and its status would not arrive.
    welcomed->Detach();
  }
  if (!decided) decide(nullptr);
  {
    // A peer that does not read may hold the writer up.
    std::unique_lock lock(mutex);
    if (!changed.wait_for(lock, std::chrono::milliseconds(kLastWordsMs), [&] { return written; })) {
      context->TryCancel();
    }
  }
  writer.join();
  return rpc::ToGrpc(status);
}

absl::Status Service::Serve(Connection& connection, Stream& stream) {
  const SiteId site = connection.site();
  spdlog::info("{} is connected", site == kEvaluator ? "the evaluator" : secagg::Name(site));
  v1::SiteMessage message;
  while (stream.Read(&message)) {
    if (absl::Status status = CheckMessage(site, message); !status.ok()) {
      spdlog::warn("site {}: {}", site.value(), ToString(status));
      return status;
    }
    if (message.body_case() == v1::SiteMessage::kPong) continue;
    ATOLL_RETURN_IF_ERROR(coordinator_.Post(PeerSaid{site, std::move(message)}));
    message.Clear();
  }
  return absl::OkStatus();
}

}  // namespace atl::coordinator
