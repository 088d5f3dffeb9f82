#include "federation/site/uploader.h"

#include <algorithm>
#include <vector>

#include "comms/base/log.h"
#include "comms/base/status.h"
#include "comms/rpc/atoll.grpc.pb.h"
#include "comms/rpc/channel.h"

namespace atl::site {
namespace {

constexpr int kBackoffMinMs = 50;
constexpr int kBackoffMaxMs = 2'000;

using Stream = grpc::ClientReaderWriter<v1::VectorChunk, v1::VectorAck>;

// One call's view of what the coordinator has. Starts empty: what an earlier call was told may not
// have survived a restart of the coordinator.
class Attempt {
 public:
  Attempt(const Upload& upload, Stream& stream, const std::function<void(uint32_t)>& acknowledged)
      : upload_(upload),
        stream_(stream),
        acknowledged_(acknowledged),
        stored_(upload.vector->chunk_count(), false) {}

  // OK when the coordinator has said that it is complete. UNAVAILABLE when the stream has ended
  // (its status tells why); DATA_LOSS for our own file.
  absl::Status Run();

 private:
  // A write failed. gRPC gives the call's status only after all that has come was read.
  absl::Status Ended() {
    while (ReadAck().ok()) {
    }
    return BrokenOff();
  }
  absl::Status BrokenOff() const { return absl::UnavailableError("the upload was broken off"); }
  absl::Status Begin();
  absl::Status Send(uint32_t index);
  absl::Status ReadAck();

  const Upload& upload_;
  Stream& stream_;
  const std::function<void(uint32_t)>& acknowledged_;
  std::vector<bool> stored_;
  uint32_t stored_count_ = 0;
  std::vector<uint32_t> unacknowledged_;
  bool complete_ = false;
};

absl::Status Attempt::Begin() {
  v1::VectorChunk first;
  first.set_job_id(upload_.id.job.value());
  first.set_round(upload_.id.round.value());
  first.set_slot(upload_.id.slot.value());
  first.set_site_id(upload_.id.site.value());
  first.set_token(upload_.token.data(), upload_.token.size());
  if (!stream_.Write(first)) return Ended();
  return ReadAck();
}

absl::Status Attempt::ReadAck() {
  v1::VectorAck ack;
  if (!stream_.Read(&ack)) return BrokenOff();
  for (const uint32_t index : ack.stored()) {
    if (index >= stored_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the coordinator acknowledged chunk ", index, " of ", stored_.size()));
    }
    if (!stored_[index]) ++stored_count_;
    stored_[index] = true;
  }
  std::erase_if(unacknowledged_, [&](uint32_t index) { return stored_[index]; });
  complete_ = ack.complete();
  if (acknowledged_) acknowledged_(stored_count_);
  return absl::OkStatus();
}

absl::Status Attempt::Send(uint32_t index) {
  v1::VectorChunk message;
  ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, upload_.vector->ReadChunk(index));
  message.set_index(index);
  message.set_data(bytes.data(), bytes.size());
  if (!stream_.Write(message)) return Ended();
  unacknowledged_.push_back(index);
  return absl::OkStatus();
}

absl::Status Attempt::Run() {
  ATOLL_RETURN_IF_ERROR(Begin());
  for (uint32_t index = 0; index < stored_.size() && !complete_; ++index) {
    if (stored_[index]) continue;
    while (unacknowledged_.size() >= rpc::kMaxUnacknowledgedChunks)
      ATOLL_RETURN_IF_ERROR(ReadAck());
    ATOLL_RETURN_IF_ERROR(Send(index));
  }
  if (!complete_ && !stream_.WritesDone()) return Ended();
  while (!complete_) ATOLL_RETURN_IF_ERROR(ReadAck());
  return absl::OkStatus();
}

absl::Status UploadOnce(v1::Coordinator::Stub& stub, const Upload& upload,
                        Cancellation& cancellation,
                        const std::function<void(uint32_t)>& acknowledged) {
  grpc::ClientContext context;
  Cancellation::Call call(cancellation, context);
  const std::unique_ptr<Stream> stream = stub.UploadVector(&context);
  const absl::Status status = Attempt(upload, *stream, acknowledged).Run();
  if (!absl::IsUnavailable(status)) context.TryCancel();
  const grpc::Status finished = stream->Finish();
  // Where the stream broke, its status says why.
  if (absl::IsUnavailable(status) && !finished.ok()) return rpc::FromGrpc(finished);
  return status;
}

}  // namespace

Signature UploadToken(const CryptoSuite& suite, const Secret32& identity_seed,
                      const store::VectorId& id, const Digest& root) {
  ByteWriter writer;
  writer.Raw(AsBytes("atoll/upload/v1")).U64(id.job.value()).U32(id.round.value());
  writer.U64(id.slot.value()).Raw(root);
  return suite.Sign(identity_seed, writer.bytes());
}

absl::Status UploadVector(const std::shared_ptr<grpc::Channel>& channel, const Upload& upload,
                          Cancellation& cancellation,
                          const std::function<void(uint32_t)>& acknowledged) {
  const std::unique_ptr<v1::Coordinator::Stub> stub = v1::Coordinator::NewStub(channel);
  int backoff_ms = kBackoffMinMs;
  int refusals = 0;
  uint32_t most = 0;  // acknowledged so far
  while (true) {
    bool moved = false;
    const absl::Status status = UploadOnce(*stub, upload, cancellation, [&](uint32_t count) {
      moved |= count > most;
      most = std::max(most, count);
      if (acknowledged) acknowledged(count);
    });
    if (cancellation.cancelled()) return absl::CancelledError("upload cancelled");
    if (status.ok() || absl::IsDataLoss(status)) return status;
    if (moved) {
      backoff_ms = kBackoffMinMs;
      refusals = 0;
    }
    // The commit travels on another stream and may come after the upload's first message: a few
    // refusals are to be expected. A coordinator that is away is waited for.
    if (!absl::IsUnavailable(status) && ++refusals >= kRefusalLimit) return status;
    spdlog::debug("upload: {}; trying again", ToString(status));
    if (!cancellation.SleepFor(backoff_ms)) return absl::CancelledError("upload cancelled");
    backoff_ms = std::min(2 * backoff_ms, kBackoffMaxMs);
  }
}

}  // namespace atl::site
