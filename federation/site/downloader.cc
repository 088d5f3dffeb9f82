#include "federation/site/downloader.h"

#include <algorithm>
#include <optional>

#include "comms/base/crypto/sha256.h"
#include "comms/base/log.h"
#include "comms/base/status.h"
#include "comms/rpc/atoll.grpc.pb.h"
#include "comms/rpc/channel.h"
#include "federation/store/vector_store.h"
#include "kernels/vector_layout.h"

namespace atl::site {
namespace {

constexpr int kBackoffMinMs = 100;
constexpr int kBackoffMaxMs = 3'000;
// A blob that is not there (yet) is asked for so often.
constexpr int kNotFoundLimit = 5;

// One blob on its way; survives broken connections.
class Transfer {
 public:
  Transfer(const Download& what, store::BlobWriter writer,
           const std::function<void(uint64_t)>& downloaded)
      : what_(what), writer_(std::move(writer)), downloaded_(downloaded) {}

  // One call: from the first missing chunk as far as it goes. UNAVAILABLE and the like when it
  // broke.
  absl::Status Continue(v1::Coordinator::Stub& stub, Cancellation& cancellation);
  bool complete() const { return next_ == what_.chunk_bytes.size(); }
  absl::Status Commit(const store::BlobStore& blobs);
  size_t next() const { return next_; }
  // Trouble with our own disk, or bytes that are not the blob's: no call will help.
  bool failed() const { return failed_; }

 private:
  absl::Status Take(const v1::BlobChunk& chunk);
  absl::Status TakeDigests(const v1::BlobChunk& first);

  const Download& what_;
  store::BlobWriter writer_;
  const std::function<void(uint64_t)>& downloaded_;
  std::vector<Digest> digests_;
  size_t next_ = 0;
  bool failed_ = false;
};

absl::Status Transfer::TakeDigests(const v1::BlobChunk& first) {
  const size_t count = what_.chunk_bytes.size();
  if (first.chunk_count() != count || static_cast<size_t>(first.chunk_digests_size()) != count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "blob ", Hex(what_.root), ": the coordinator sent ", first.chunk_digests_size(),
        " digests of ", first.chunk_count(), " chunks; it must have ", count));
  }
  std::vector<Digest> digests(count);
  for (size_t i = 0; i < count; ++i) {
    const std::string& digest = first.chunk_digests(static_cast<int>(i));
    if (digest.size() != digests[i].size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("blob ", Hex(what_.root), ": a digest of ", digest.size(), " bytes"));
    }
    std::copy(digest.begin(), digest.end(), digests[i].begin());
  }
  if (MerkleRoot(digests) != what_.root) {
    return absl::InvalidArgumentError(absl::StrCat(
        "blob ", Hex(what_.root), ": the digests that the coordinator sent are another blob's"));
  }
  digests_ = std::move(digests);
  return absl::OkStatus();
}

absl::Status Transfer::Take(const v1::BlobChunk& chunk) {
  if (digests_.empty()) ATOLL_RETURN_IF_ERROR(TakeDigests(chunk));
  if (chunk.index() != next_ || complete() || chunk.data().size() != what_.chunk_bytes[next_] ||
      Sha256::Of(AsBytes(chunk.data())) != digests_[next_]) {
    return absl::InvalidArgumentError(absl::StrCat("blob ", Hex(what_.root), ": chunk ",
                                                   chunk.index(), " of ", chunk.data().size(),
                                                   " bytes is not its chunk ", next_));
  }
  ATOLL_RETURN_IF_ERROR(writer_.AddChunk(AsBytes(chunk.data())));
  ++next_;
  if (downloaded_) downloaded_(chunk.data().size());
  return absl::OkStatus();
}

absl::Status Transfer::Continue(v1::Coordinator::Stub& stub, Cancellation& cancellation) {
  grpc::ClientContext context;
  Cancellation::Call call(cancellation, context);
  v1::DownloadRequest request;
  request.set_blob(what_.root.data(), what_.root.size());
  request.set_first_chunk(static_cast<uint32_t>(next_));
  std::unique_ptr<grpc::ClientReader<v1::BlobChunk>> reader = stub.DownloadBlob(&context, request);
  v1::BlobChunk chunk;
  absl::Status taken;
  while (taken.ok() && !complete() && reader->Read(&chunk)) taken = Take(chunk);
  failed_ = !taken.ok();
  if (failed_ || complete()) context.TryCancel();
  const grpc::Status finished = reader->Finish();
  if (failed_ || complete()) return taken;
  return finished.ok() ? absl::UnavailableError("the coordinator ended the download early")
                       : rpc::FromGrpc(finished);
}

absl::Status Transfer::Commit(const store::BlobStore& blobs) {
  ATOLL_ASSIGN_OR_RETURN(const Digest root, writer_.Commit());
  if (root == what_.root) return absl::OkStatus();
  ATOLL_RETURN_IF_ERROR(blobs.Remove(root));
  return absl::InternalError(absl::StrCat("blob ", Hex(what_.root), " was stored as ", Hex(root)));
}

}  // namespace

absl::Status DownloadBlob(const std::shared_ptr<grpc::Channel>& channel, const Download& what,
                          const store::BlobStore& blobs, Cancellation& cancellation,
                          const std::function<void(uint64_t)>& downloaded) {
  if (blobs.Has(what.root)) return absl::OkStatus();
  ATOLL_ASSIGN_OR_RETURN(store::BlobWriter writer, blobs.NewBlob());
  Transfer transfer(what, std::move(writer), downloaded);
  const std::unique_ptr<v1::Coordinator::Stub> stub = v1::Coordinator::NewStub(channel);
  int backoff_ms = kBackoffMinMs;
  int not_found = 0;
  while (true) {
    const size_t before = transfer.next();
    const absl::Status status = transfer.Continue(*stub, cancellation);
    if (cancellation.cancelled()) return absl::CancelledError("download cancelled");
    if (status.ok()) return transfer.Commit(blobs);
    if (transfer.failed()) return status;
    if (absl::IsNotFound(status) && ++not_found == kNotFoundLimit) return status;
    if (transfer.next() > before) backoff_ms = kBackoffMinMs;
    spdlog::info("download of {}: {}; trying again", Hex(what.root), ToString(status));
    if (!cancellation.SleepFor(backoff_ms)) return absl::CancelledError("download cancelled");
    backoff_ms = std::min(2 * backoff_ms, kBackoffMaxMs);
  }
}

std::vector<uint32_t> ModelChunkBytes(uint64_t parameters) {
  return store::EvenChunks(parameters * sizeof(float),
                           static_cast<uint32_t>(kernels::kChunkElements * sizeof(float)));
}

}  // namespace atl::site
