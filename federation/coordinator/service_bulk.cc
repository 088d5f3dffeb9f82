// Service's blobs and vectors.

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "comms/base/log.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"
#include "federation/coordinator/service.h"

namespace atl::coordinator {
namespace {

constexpr int kBlobUploadsMax = 4;  // at once
constexpr uint32_t kDigestsPerMessage = 1 << 17;

absl::StatusOr<Digest> DigestOf(const std::string& bytes, const char* what) {
  Digest digest;
  if (bytes.size() != digest.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": ", bytes.size(), " bytes, a digest has 32"));
  }
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

absl::Status CheckToken(const Coordinator& coordinator, const v1::VectorChunk& first,
                        const Digest& root) {
  const secagg::RosterEntry* entry = coordinator.roster().Find(SiteId(first.site_id()));
  ByteWriter body;
  body.Raw(AsBytes("atoll/upload/v1"))
      .U64(first.job_id())
      .U32(first.round())
      .U64(first.slot())
      .Raw(root);
  Signature token{};
  const bool has_size = first.token().size() == token.size();
  if (has_size) std::copy(first.token().begin(), first.token().end(), token.begin());
  if (entry == nullptr || !has_size ||
      !coordinator.suite().Verify(entry->identity, body.bytes(), token)) {
    return absl::UnauthenticatedError(absl::StrCat("upload in the name of site ", first.site_id(),
                                                   ": its token does not verify"));
  }
  return absl::OkStatus();
}

}  // namespace

grpc::Status Service::DownloadBlob(grpc::ServerContext*, const v1::DownloadRequest* request,
                                   grpc::ServerWriter<v1::BlobChunk>* writer) {
  return rpc::ToGrpc(SendBlob(*request, *writer));
}

absl::Status Service::SendBlob(const v1::DownloadRequest& request,
                               grpc::ServerWriter<v1::BlobChunk>& writer) {
  ATOLL_ASSIGN_OR_RETURN(const Digest root, DigestOf(request.blob(), "blob"));
  ATOLL_ASSIGN_OR_RETURN(const store::BlobReader blob, coordinator_.blobs().OpenBlob(root));
  if (request.first_chunk() >= blob.chunk_count() || blob.chunk_count() > kDigestsPerMessage) {
    return absl::OutOfRangeError(absl::StrCat("first_chunk: ", request.first_chunk(),
                                              ", the blob has ", blob.chunk_count(), " chunks"));
  }
  uint64_t sent = 0;
  absl::Cleanup count = [&] { coordinator_.Downloaded(root, sent); };
  for (uint32_t index = request.first_chunk(); index < blob.chunk_count(); ++index) {
    ATOLL_ASSIGN_OR_RETURN(const Bytes data, blob.ReadChunk(index));
    v1::BlobChunk chunk;
    chunk.set_index(index);
    chunk.set_data(data.data(), data.size());
    chunk.set_chunk_count(blob.chunk_count());
    if (index == request.first_chunk()) {
      for (const Digest& digest : blob.chunk_digests())
        chunk.add_chunk_digests(digest.data(), digest.size());
    }
    if (!writer.Write(chunk)) return absl::CancelledError("the caller has gone");
    sent += data.size();
  }
  return absl::OkStatus();
}

grpc::Status Service::UploadBlob(grpc::ServerContext*, grpc::ServerReader<v1::BlobUpload>* reader,
                                 v1::BlobUploaded* reply) {
  if (++blob_uploads_ > kBlobUploadsMax) {
    --blob_uploads_;
    return rpc::ToGrpc(
        absl::ResourceExhaustedError("too many models are being uploaded: try again later"));
  }
  Digest root{};
  const absl::Status status = TakeBlob(*reader, root);
  --blob_uploads_;
  if (status.ok()) reply->set_blob(root.data(), root.size());
  return rpc::ToGrpc(status);
}

absl::Status Service::TakeBlob(grpc::ServerReader<v1::BlobUpload>& reader, Digest& root) {
  v1::BlobUpload message;
  if (!reader.Read(&message)) return absl::InvalidArgumentError("blob: nothing was sent");
  const uint64_t bytes = message.bytes();
  if (bytes == 0 || bytes > kMaxBlobBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("blob: ", bytes, " bytes, must be in [1, ", kMaxBlobBytes, "]"));
  }
  ATOLL_ASSIGN_OR_RETURN(store::BlobWriter blob, coordinator_.blobs().NewBlob());
  do {
    // Chunks decide the blob's name, so they are cut in one way only.
    if (message.data().empty()) continue;
    const uint64_t expected = std::min<uint64_t>(rpc::kBlobChunkBytes, bytes - blob.bytes());
    if (message.data().size() != expected) {
      return absl::InvalidArgumentError(absl::StrCat("blob: a chunk of ", message.data().size(),
                                                     " bytes at ", blob.bytes(), " of ", bytes,
                                                     ", must have ", expected));
    }
    ATOLL_RETURN_IF_ERROR(blob.AddChunk(AsBytes(message.data())));
  } while (reader.Read(&message));
  if (blob.bytes() != bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("blob: ended after ", blob.bytes(), " of ", bytes, " bytes"));
  }
  ATOLL_ASSIGN_OR_RETURN(root, blob.Commit());
  return absl::OkStatus();
}

grpc::Status Service::UploadVector(
    grpc::ServerContext*, grpc::ServerReaderWriter<v1::VectorAck, v1::VectorChunk>* stream) {
  return rpc::ToGrpc(TakeVector(*stream));
}

absl::Status Service::TakeVector(grpc::ServerReaderWriter<v1::VectorAck, v1::VectorChunk>& stream) {
  v1::VectorChunk message;
  if (!stream.Read(&message)) return absl::InvalidArgumentError("vector: nothing was sent");
  const store::VectorId id{JobId(message.job_id()), RoundId(message.round()),
                           SlotId(message.slot()), SiteId(message.site_id())};
  const std::shared_ptr<Admission> admission = coordinator_.uploads().Find(id, commit_timeout_ms_);
  if (admission == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("vector of site ", message.site_id(), ", job ", message.job_id(), ", round ",
                     message.round(), ", slot ", message.slot(), ": none is waited for"));
  }
  const Digest root = admission->allowed.root;
  ATOLL_RETURN_IF_ERROR(CheckToken(coordinator_, message, root));
  if (admission->busy.exchange(true)) return absl::AbortedError("vector: another call sends it");
  absl::Cleanup idle = [&] { admission->busy = false; };
  ATOLL_ASSIGN_OR_RETURN(auto vector,
                         coordinator_.vectors().OpenVector(id, admission->allowed.chunk_bytes));

  v1::VectorAck ack;
  for (uint32_t index : vector->StoredChunks()) ack.add_stored(index);
  bool is_whole = vector->HasAll();
  if (!is_whole && !stream.Write(ack)) return absl::CancelledError("the caller has gone");
  while (!is_whole) {
    if (!stream.Read(&message))
      return absl::CancelledError("vector: the caller left before it was whole");
    if (!admission->open)
      return absl::FailedPreconditionError("vector: the round has gone on without it");
    ATOLL_RETURN_IF_ERROR(vector->WriteChunk(message.index(), AsBytes(message.data())));
    (void)coordinator_.Post(Heard{id.site});
    is_whole = vector->HasAll();
    if (is_whole) break;
    ack.Clear();
    ack.add_stored(message.index());
    if (!stream.Write(ack)) return absl::CancelledError("the caller has gone");
  }
  if (absl::Status status = vector->Complete(root); !status.ok()) {
    (void)coordinator_.Post(
        MemberDropped{id.job, id.site, "its vector is not the one that it committed to"});
    return status;
  }
  if (!admission->open)
    return absl::FailedPreconditionError("vector: the round has gone on without it");
  ATOLL_RETURN_IF_ERROR(coordinator_.PostAndWait(UploadComplete{id, admission->allowed.bytes}));
  ack.Clear();
  for (uint32_t index : vector->StoredChunks()) ack.add_stored(index);
  ack.set_complete(true);
  return stream.Write(ack) ? absl::OkStatus() : absl::CancelledError("the caller has gone");
}

}  // namespace atl::coordinator
