// A coordinator that says what a test tells it to, over real gRPC.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "comms/base/bytes.h"
#include "comms/rpc/atoll.grpc.pb.h"

namespace atl::site {

// What has arrived of a vector, over all calls. `twice`: chunks that came though they were there;
// `different`: of these, those with other bytes.
struct Uploads {
  std::map<uint32_t, Bytes> chunks;
  std::vector<v1::VectorChunk> openings;  // first messages, one a call
  int twice = 0, different = 0;
  bool complete = false;
};

// One control stream at a time. Thread-safe.
class FakeCoordinator final : public v1::Coordinator::Service {
 public:
  explicit FakeCoordinator(const Digest& roster);
  ~FakeCoordinator() override;
  const std::string& address() const { return address_; }

  uint32_t protocol_version = 1;  // of the challenge; set before an agent comes

  // Waits until so many agents (or one so often) have been welcomed; false after 10 s.
  bool WaitForHello(size_t count = 1);
  size_t hellos() const;
  v1::Hello hello(size_t index) const;
  Bytes nonce(size_t index) const;

  void Say(const v1::CoordinatorMessage& message);
  void SayStep(uint32_t round, uint64_t slot, v1::Step step, const Bytes& payload);
  // What the agent says, but for progress and pongs. None after timeout_ms.
  std::optional<v1::SiteMessage> Hear(int timeout_ms = 60'000);
  // The payload of the next message, which must be this step; empty (and a test failure) otherwise.
  Bytes HearStep(v1::Step step);
  std::set<std::string> phases() const;  // of the progress so far
  // Every message that agents have sent in any call, serialised, in the order of arrival: all that
  // a coordinator gets to see of them.
  std::vector<std::string> transcript() const;
  void BreakControl();

  Digest AddBlob(const std::vector<Bytes>& chunks);
  void CorruptBlob(const Digest& root);  // its last chunk, not its digests
  int downloads() const;

  // The next vector is of this slot and has so many chunks; its first call is broken off, and the
  // control stream too, after `break_after` of them (0: not). Other slots' calls are refused.
  void ExpectUpload(uint64_t slot, uint32_t chunks, uint32_t break_after = 0);
  // Waits until the vector is complete.
  bool WaitForUpload();
  Uploads uploads() const;

  // What spot checks of this slot are shown: the survivors' chunks. `spoil` (may be null) changes
  // or withholds (false) what is sent.
  using Spoil = std::function<bool(v1::CheckedChunk&)>;
  void ShowVectors(uint64_t slot, const std::map<uint32_t, std::vector<Bytes>>& vectors,
                   Spoil spoil = nullptr);
  std::vector<v1::CheckRequest> checks() const;  // all requests

 private:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::SiteMessage>;
  using VectorStream = grpc::ServerReaderWriter<v1::VectorAck, v1::VectorChunk>;
  grpc::Status Control(grpc::ServerContext* context, Stream* stream) override;
  grpc::Status DownloadBlob(grpc::ServerContext* context, const v1::DownloadRequest* request,
                            grpc::ServerWriter<v1::BlobChunk>* writer) override;
  grpc::Status UploadVector(grpc::ServerContext* context, VectorStream* stream) override;
  grpc::Status CheckChunks(grpc::ServerContext* context, const v1::CheckRequest* request,
                           grpc::ServerWriter<v1::CheckedChunk>* writer) override;

  const Digest roster_;
  std::string address_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  grpc::ServerContext* context_ = nullptr;
  Stream* stream_ = nullptr;
  std::vector<v1::Hello> hellos_;
  std::vector<Bytes> nonces_;
  std::deque<v1::SiteMessage> heard_;
  std::set<std::string> phases_;
  std::vector<std::string> transcript_;
  struct Blob {
    std::vector<Bytes> chunks;
    std::vector<Digest> digests;
  };
  std::map<Digest, Blob> blobs_;
  int downloads_ = 0;
  Uploads uploads_;
  uint64_t checked_slot_ = 0;
  std::map<uint32_t, std::vector<Bytes>> checked_vectors_;
  Spoil spoil_;
  std::vector<v1::CheckRequest> checks_;
  uint64_t upload_slot_ = 0;
  uint32_t upload_chunks_ = 0, break_after_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace atl::site
