#include "federation/site/spot_checker.h"

#include <algorithm>
#include <optional>
#include <span>

#include "comms/base/log.h"
#include "comms/base/status.h"
#include "comms/rpc/atoll.grpc.pb.h"
#include "comms/rpc/channel.h"

namespace atl::site {
namespace {

constexpr int kBackoffMinMs = 100;
constexpr int kBackoffMaxMs = 3'000;
constexpr int kPathMax = 64;  // nodes, of any tree

// The site's signature over "atoll/check/v1" || u64 job || u32 round || u64 slot || u32 count ||
// u32 chunks.
v1::CheckRequest MakeRequest(const SpotCheck& check, std::span<const uint32_t> chunks,
                             const secagg::SiteIdentity& identity) {
  v1::CheckRequest request;
  request.set_job_id(check.job.value());
  request.set_round(check.round.value());
  request.set_slot(check.slot.value());
  request.set_site_id(identity.id.value());
  ByteWriter body;
  body.Raw(AsBytes("atoll/check/v1")).U64(check.job.value()).U32(check.round.value());
  body.U64(check.slot.value()).U32(static_cast<uint32_t>(chunks.size()));
  for (const uint32_t chunk : chunks) {
    body.U32(chunk);
    request.add_chunks(chunk);
  }
  const Signature token = identity.suite->Sign(identity.seed, body.bytes());
  request.set_token(token.data(), token.size());
  return request;
}

absl::StatusOr<std::vector<Digest>> PathOf(const v1::CheckedChunk& message) {
  if (message.path_size() > kPathMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("an audit path of ", message.path_size(), " nodes: must be <= ", kPathMax));
  }
  std::vector<Digest> path(static_cast<size_t>(message.path_size()));
  for (size_t i = 0; i < path.size(); ++i) {
    const std::string& node = message.path(static_cast<int>(i));
    if (node.size() != path[i].size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("an audit path with a node of ", node.size(), " bytes: must have 32"));
    }
    std::copy(node.begin(), node.end(), path[i].begin());
  }
  return path;
}

// A check on its way; survives broken connections.
class Checking {
 public:
  Checking(const SpotCheck& check, store::BlobReader sum) : check_(check), sum_(std::move(sum)) {}

  // One call: from the first chunk that is not checked as far as it goes. UNAVAILABLE and the like
  // when it broke.
  absl::Status Continue(v1::Coordinator::Stub& stub, const secagg::SiteIdentity& identity,
                        Cancellation& cancellation);
  size_t checked() const { return checked_; }
  bool complete() const { return checked_ == check_.chunks.size(); }
  // What came is wrong, or our own disk is: no call will help.
  bool failed() const { return failed_; }

 private:
  size_t parts() const {
    return check_.claim.survivors.members.size() + check_.claim.Groups().size();
  }
  absl::Status Take(const v1::CheckedChunk& message);
  absl::Status Finish();

  const SpotCheck& check_;
  store::BlobReader sum_;
  size_t checked_ = 0;  // of check_.chunks
  std::optional<secagg::ChunkCheck> chunk_;
  size_t taken_ = 0;  // parts of the chunk
  bool failed_ = false;
};

absl::Status Checking::Take(const v1::CheckedChunk& message) {
  const uint32_t chunk = check_.chunks[checked_];
  if (message.chunk() != chunk) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk ", chunk, " is missing, chunk ", message.chunk(), " came"));
  }
  if (!chunk_) {
    ATOLL_ASSIGN_OR_RETURN(chunk_, secagg::ChunkCheck::Create(check_.claim, chunk));
    taken_ = 0;
  }
  const absl::StatusOr<std::vector<Digest>> path = PathOf(message);
  if (!path.ok()) return Annotate(path.status(), absl::StrCat("chunk ", chunk));
  const ByteView data = AsBytes(message.data());
  ATOLL_RETURN_IF_ERROR(message.site_id() != 0
                            ? chunk_->AddVector(SiteId(message.site_id()), data, *path)
                            : chunk_->AddGroupSum(message.group(), data, *path));
  if (++taken_ < parts()) return absl::OkStatus();
  return Finish();
}

absl::Status Checking::Finish() {
  ATOLL_ASSIGN_OR_RETURN(const Bytes published, sum_.ReadChunk(check_.chunks[checked_]));
  ATOLL_RETURN_IF_ERROR(chunk_->Finish(published));
  chunk_.reset();
  ++checked_;
  return absl::OkStatus();
}

absl::Status Checking::Continue(v1::Coordinator::Stub& stub, const secagg::SiteIdentity& identity,
                                Cancellation& cancellation) {
  chunk_.reset();
  grpc::ClientContext context;
  Cancellation::Call call(cancellation, context);
  const size_t count = std::min<size_t>(check_.chunks.size() - checked_, rpc::kMaxCheckedChunks);
  const size_t goal = checked_ + count;
  const auto reader = stub.CheckChunks(
      &context, MakeRequest(check_, std::span(check_.chunks).subspan(checked_, count), identity));
  v1::CheckedChunk message;
  absl::Status taken;
  while (taken.ok() && checked_ < goal && reader->Read(&message)) taken = Take(message);
  failed_ = !taken.ok();
  if (failed_) context.TryCancel();
  const grpc::Status finished = reader->Finish();
  if (failed_ || checked_ == goal) return taken;
  if (!finished.ok()) return rpc::FromGrpc(finished);
  failed_ = true;  // it says that this is all
  return absl::InvalidArgumentError(absl::StrCat("chunk ", check_.chunks[checked_], ": ", taken_,
                                                 " of ", parts(), " parts of it came"));
}

}  // namespace

absl::Status CheckChunks(const std::shared_ptr<grpc::Channel>& channel, const SpotCheck& check,
                         const secagg::SiteIdentity& identity, const store::BlobStore& blobs,
                         Cancellation& cancellation) {
  if (check.chunks.empty()) return absl::OkStatus();
  ATOLL_ASSIGN_OR_RETURN(store::BlobReader sum, blobs.OpenBlob(check.claim.sum));
  Checking checking(check, std::move(sum));
  const std::unique_ptr<v1::Coordinator::Stub> stub = v1::Coordinator::NewStub(channel);
  int backoff_ms = kBackoffMinMs;
  int refusals = 0;
  while (!checking.complete()) {
    const size_t before = checking.checked();
    const absl::Status status = checking.Continue(*stub, identity, cancellation);
    if (cancellation.cancelled()) return absl::CancelledError("spot check cancelled");
    if (checking.failed()) return status;
    if (checking.checked() > before) {
      backoff_ms = kBackoffMinMs;
      refusals = 0;
    }
    if (status.ok()) continue;
    if (!absl::IsUnavailable(status) && ++refusals == kCheckRefusals) {
      return Annotate(status, absl::StrCat("the coordinator does not show chunk ",
                                           check.chunks[checking.checked()]));
    }
    spdlog::info("spot check of round {}: {}; trying again", check.round.value(), ToString(status));
    if (!cancellation.SleepFor(backoff_ms)) return absl::CancelledError("spot check cancelled");
    backoff_ms = std::min(2 * backoff_ms, kBackoffMaxMs);
  }
  return absl::OkStatus();
}

}  // namespace atl::site
