// The gRPC service: checks who calls and what, and hands it to the Coordinator.
#pragma once

#include <atomic>

#include "comms/rpc/atoll.grpc.pb.h"
#include "federation/coordinator/coordinator.h"

namespace atl::coordinator {

// Over gRPC's synchronous interface: each call has a thread, a control stream a second one that
// writes. Thread-safe. The coordinator outlives it, and every call ends when the coordinator has
// stopped and the server is shut down.
class Service final : public v1::Coordinator::Service {
 public:
  // A vector may be announced this long before its commit has been taken from the control stream.
  explicit Service(Coordinator& coordinator, int commit_timeout_ms = 10'000)
      : coordinator_(coordinator), commit_timeout_ms_(commit_timeout_ms) {}

  // Challenge, Hello, Welcome, then messages both ways. FAILED_PRECONDITION for another protocol
  // version, PERMISSION_DENIED for a site outside the roster or an evaluator from another machine,
  // UNAUTHENTICATED for a signature that does not verify, ALREADY_EXISTS for a second evaluator,
  // INVALID_ARGUMENT for anything else than a Hello.
  grpc::Status Control(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::SiteMessage>* stream) override;
  // NOT_FOUND, OUT_OF_RANGE (first_chunk), DATA_LOSS.
  grpc::Status DownloadBlob(grpc::ServerContext* context, const v1::DownloadRequest* request,
                            grpc::ServerWriter<v1::BlobChunk>* writer) override;
  // INVALID_ARGUMENT (sizes), RESOURCE_EXHAUSTED (too many at once, full disk).
  grpc::Status UploadBlob(grpc::ServerContext* context, grpc::ServerReader<v1::BlobUpload>* reader,
                          v1::BlobUploaded* reply) override;
  // FAILED_PRECONDITION before the commit was accepted and after the round went on, UNAUTHENTICATED
  // (token), INVALID_ARGUMENT (indices, sizes, other bytes than before or than committed), ABORTED
  // (another call sends it).
  grpc::Status UploadVector(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::VectorAck, v1::VectorChunk>* stream) override;

  // PERMISSION_DENIED for who was not in the round, UNAUTHENTICATED (token), INVALID_ARGUMENT
  // (chunks), FAILED_PRECONDITION before the round's result and when it is not kept any more,
  // ABORTED (another call of this site is served).
  grpc::Status CheckChunks(grpc::ServerContext* context, const v1::CheckRequest* request,
                           grpc::ServerWriter<v1::CheckedChunk>* writer) override;

  grpc::Status SubmitJob(grpc::ServerContext* context, const v1::SubmitRequest* request,
                         v1::SubmitReply* reply) override;
  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsReply* reply) override;
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                      v1::JobReport* reply) override;
  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelRequest* request,
                         v1::CancelReply* reply) override;
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchRequest* request,
                        grpc::ServerWriter<v1::JobEvent>* writer) override;

 private:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::SiteMessage>;
  absl::StatusOr<SiteId> CheckHello(const grpc::ServerContext& context, ByteView nonce,
                                    const v1::Hello& hello) const;
  absl::Status Serve(Connection& connection, Stream& stream);
  absl::Status TakeBlob(grpc::ServerReader<v1::BlobUpload>& reader, Digest& root);
  absl::Status TakeVector(grpc::ServerReaderWriter<v1::VectorAck, v1::VectorChunk>& stream);
  absl::Status SendChecked(const v1::CheckRequest& request,
                           grpc::ServerWriter<v1::CheckedChunk>& writer);
  absl::Status SendBlob(const v1::DownloadRequest& request,
                        grpc::ServerWriter<v1::BlobChunk>& writer);
  absl::Status Watch(const grpc::ServerContext& context, const v1::WatchRequest& request,
                     grpc::ServerWriter<v1::JobEvent>& writer);

  Coordinator& coordinator_;
  const int commit_timeout_ms_;
  std::atomic<int> blob_uploads_ = 0;
};

inline constexpr uint64_t kMaxBlobBytes = uint64_t{8} << 30;

}  // namespace atl::coordinator
