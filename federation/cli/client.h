// A person's side of the coordinator's service, with Status in place of gRPC's.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/rpc/atoll.grpc.pb.h"

namespace atl::cli {

// Thread-safe. Calls wait at most timeout_ms for the coordinator; UNAVAILABLE names its address.
class CoordinatorClient {
 public:
  static absl::StatusOr<std::unique_ptr<CoordinatorClient>> Connect(const std::string& address,
                                                                    int timeout_ms);

  // `read` fills a buffer with the next bytes of the blob and returns how many; 0 at its end.
  absl::StatusOr<Digest> UploadBlob(
      uint64_t bytes, const std::function<absl::StatusOr<size_t>(std::span<uint8_t>)>& read);
  // Chunks are checked against their digests, and those against `blob`, before `write` sees them.
  absl::Status DownloadBlob(const Digest& blob, const std::function<absl::Status(ByteView)>& write);

  absl::StatusOr<uint64_t> Submit(const std::string& recipe_yaml, const Digest& first_model,
                                  uint64_t parameters);
  absl::StatusOr<v1::ListJobsReply> ListJobs();
  absl::StatusOr<v1::JobReport> GetJob(uint64_t job_id);
  absl::Status Cancel(uint64_t job_id, const std::string& reason);
  struct WatchOptions {
    bool follow = true;  // each new event until the job ends; else the past ones only
    bool trace = false;  // also the protocol's messages from now on
  };
  // Calls `handle` for each event; stops when `handle` returns false or the connection breaks.
  absl::Status Watch(uint64_t job_id, const WatchOptions& options,
                     const std::function<bool(const v1::JobEvent&)>& handle);
  // Ends a Watch of another thread.
  void StopWatching();
  // How long Submit, ListJobs, GetJob and Cancel wait for an answer; 30 s when not set.
  void set_call_timeout_ms(int timeout_ms) { call_timeout_ms_ = timeout_ms; }

 private:
  CoordinatorClient() = default;
  absl::Status Result(const grpc::Status& status) const;
  void SetDeadline(grpc::ClientContext& context) const;

  std::string address_;
  std::unique_ptr<v1::Coordinator::Stub> stub_;
  std::atomic<int> call_timeout_ms_ = 30'000;
  std::mutex mutex_;
  grpc::ClientContext* watching_ = nullptr;
  bool stopped_ = false;
};

}  // namespace atl::cli
