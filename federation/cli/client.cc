#include "federation/cli/client.h"

#include <algorithm>
#include <chrono>

#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"

namespace atl::cli {
namespace {

std::string Raw(const Digest& digest) { return std::string(digest.begin(), digest.end()); }

absl::StatusOr<Digest> ToDigest(const std::string& bytes) {
  Digest digest;
  if (bytes.size() != digest.size()) {
    return absl::InternalError(
        absl::StrCat("the coordinator sent a digest of ", bytes.size(), " bytes, not 32"));
  }
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorClient>> CoordinatorClient::Connect(
    const std::string& address, int timeout_ms) {
  ATOLL_ASSIGN_OR_RETURN(auto channel, rpc::ConnectTo(address));
  if (!channel->WaitForConnected(std::chrono::system_clock::now() +
                                 std::chrono::milliseconds(timeout_ms))) {
    return absl::UnavailableError(absl::StrCat("no coordinator answers on ", address));
  }
  std::unique_ptr<CoordinatorClient> client(new CoordinatorClient);
  client->address_ = address;
  client->stub_ = v1::Coordinator::NewStub(channel);
  return client;
}

void CoordinatorClient::SetDeadline(grpc::ClientContext& context) const {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(call_timeout_ms_));
}

absl::Status CoordinatorClient::Result(const grpc::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    return absl::UnavailableError(absl::StrCat("lost the coordinator on ", address_));
  }
  return rpc::FromGrpc(status);
}

absl::StatusOr<Digest> CoordinatorClient::UploadBlob(
    uint64_t bytes, const std::function<absl::StatusOr<size_t>(std::span<uint8_t>)>& read) {
  grpc::ClientContext context;
  v1::BlobUploaded reply;
  auto writer = stub_->UploadBlob(&context, &reply);
  v1::BlobUpload message;
  message.set_bytes(bytes);
  std::vector<uint8_t> buffer(rpc::kBlobChunkBytes);
  for (;;) {
    size_t filled = 0;
    while (filled < buffer.size()) {
      auto more = read(std::span(buffer).subspan(filled));
      if (!more.ok()) {
        context.TryCancel();
        writer->Finish().error_code();
        return more.status();
      }
      if (*more == 0) break;
      filled += *more;
    }
    if (filled == 0) break;
    message.set_data(buffer.data(), filled);
    if (!writer->Write(message)) break;  // Finish() says why
    message.Clear();
  }
  writer->WritesDone();
  ATOLL_RETURN_IF_ERROR(Result(writer->Finish()));
  return ToDigest(reply.blob());
}

absl::Status CoordinatorClient::DownloadBlob(const Digest& blob,
                                             const std::function<absl::Status(ByteView)>& write) {
  grpc::ClientContext context;
  v1::DownloadRequest request;
  request.set_blob(Raw(blob));
  auto reader = stub_->DownloadBlob(&context, request);
  v1::BlobChunk chunk;
  std::vector<Digest> digests;
  size_t next = 0;
  absl::Status problem;
  while (problem.ok() && reader->Read(&chunk)) {
    if (next == 0) {
      for (const std::string& raw : chunk.chunk_digests()) {
        auto digest = ToDigest(raw);
        if (!digest.ok())
          problem = digest.status();
        else
          digests.push_back(*digest);
      }
      if (problem.ok() && MerkleRoot(digests) != blob) {
        problem =
            absl::DataLossError("the coordinator's chunk digests do not lead to the blob's name");
      }
    }
    if (!problem.ok()) break;
    if (next >= digests.size() || Sha256::Of(AsBytes(chunk.data())) != digests[next]) {
      problem = absl::DataLossError(
          absl::StrCat("chunk ", next, " of blob ", Hex(blob), " has the wrong digest"));
      break;
    }
    problem = write(AsBytes(chunk.data()));
    ++next;
  }
  if (!problem.ok()) context.TryCancel();
  grpc::Status status = reader->Finish();
  if (!problem.ok()) return problem;
  ATOLL_RETURN_IF_ERROR(Result(status));
  if (next != digests.size()) {
    return absl::DataLossError(
        absl::StrCat("got ", next, " of ", digests.size(), " chunks of blob ", Hex(blob)));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> CoordinatorClient::Submit(const std::string& recipe_yaml,
                                                   const Digest& first_model, uint64_t parameters) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::SubmitRequest request;
  request.set_recipe_yaml(recipe_yaml);
  request.set_first_model(Raw(first_model));
  request.set_parameters(parameters);
  v1::SubmitReply reply;
  ATOLL_RETURN_IF_ERROR(Result(stub_->SubmitJob(&context, request, &reply)));
  return reply.job_id();
}

absl::StatusOr<v1::ListJobsReply> CoordinatorClient::ListJobs() {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::ListJobsReply reply;
  ATOLL_RETURN_IF_ERROR(Result(stub_->ListJobs(&context, v1::ListJobsRequest(), &reply)));
  return reply;
}

absl::StatusOr<v1::JobReport> CoordinatorClient::GetJob(uint64_t job_id) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  v1::JobReport reply;
  ATOLL_RETURN_IF_ERROR(Result(stub_->GetJob(&context, request, &reply)));
  return reply;
}

absl::Status CoordinatorClient::Cancel(uint64_t job_id, const std::string& reason) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::CancelRequest request;
  request.set_job_id(job_id);
  request.set_reason(reason);
  v1::CancelReply reply;
  return Result(stub_->CancelJob(&context, request, &reply));
}

absl::Status CoordinatorClient::Watch(uint64_t job_id, const WatchOptions& options,
                                      const std::function<bool(const v1::JobEvent&)>& handle) {
  grpc::ClientContext context;
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return absl::OkStatus();
    watching_ = &context;
  }
  v1::WatchRequest request;
  request.set_job_id(job_id);
  request.set_past_only(!options.follow);
  request.set_trace(options.trace);
  auto reader = stub_->WatchJob(&context, request);
  v1::JobEvent event;
  bool wanted = true;
  while (wanted && reader->Read(&event)) wanted = handle(event);
  if (!wanted) context.TryCancel();
  grpc::Status status = reader->Finish();
  std::lock_guard lock(mutex_);
  watching_ = nullptr;
  if (!wanted || stopped_) return absl::OkStatus();
  return Result(status);
}

void CoordinatorClient::StopWatching() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  if (watching_ != nullptr) watching_->TryCancel();
}

}  // namespace atl::cli
