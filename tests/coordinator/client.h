// A coordinator behind a real port, and the least of a site that talks to it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comms/base/files.h"
#include "comms/rpc/atoll.grpc.pb.h"
#include "federation/coordinator/server.h"
#include "grpcpp/grpcpp.h"

namespace atl::coordinator {

Secret32 IdentitySeed(uint32_t site);
secagg::Roster TestRoster(uint32_t sites);

// Started on a folder, on a free port of the loopback interface. Stops on destruction; the folder
// stays.
class TestCoordinator {
 public:
  explicit TestCoordinator(const std::filesystem::path& folder);
  ~TestCoordinator();
  const std::string& address() const { return server_->address(); }
  std::unique_ptr<v1::Coordinator::Stub> Stub() const;
  Service& service() { return *service_; }
  Coordinator& coordinator() { return *coordinator_; }

 private:
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<Server> server_;
};

// A control stream. Calls wait at most a minute in all.
class TestStream {
 public:
  explicit TestStream(v1::Coordinator::Stub& stub);
  ~TestStream();
  // The next message but pings; nothing when the stream has ended.
  std::optional<v1::CoordinatorMessage> Read();
  // The next protocol message of the step, passing over others; fails the test when the stream ends
  // before.
  v1::SecAgg Await(v1::Step step);
  void Write(const v1::SiteMessage& message) { (void)stream_->Write(message); }
  grpc::Status Finish();

  // Reads the challenge and answers; `change` may spoil the answer.
  void Greet(uint32_t site, const std::function<void(v1::Hello&)>& change = nullptr);
  void Accept(uint64_t job);
  void SendStep(uint64_t job, uint32_t round, v1::Step step, const Bytes& payload);

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::SiteMessage, v1::CoordinatorMessage>> stream_;
  bool finished_ = false;
};

// A model of so many zeros, uploaded; its name.
std::string UploadZeros(v1::Coordinator::Stub& stub, uint64_t parameters);
// The whole blob; fails the test when it cannot be had.
std::string Download(v1::Coordinator::Stub& stub, const std::string& blob);

}  // namespace atl::coordinator
