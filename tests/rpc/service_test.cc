// A real server and a real channel on loopback.
#include <chrono>
#include <memory>
#include <string>

#include "comms/rpc/atoll.grpc.pb.h"
#include "comms/rpc/channel.h"
#include "gmock/gmock.h"

namespace atl::rpc {
namespace {

// Answers a blob request with one chunk of as many bytes as the digest's first byte says, in 64
// KiB; fails for 0.
class BlobService : public v1::Coordinator::Service {
 public:
  grpc::Status DownloadBlob(grpc::ServerContext* context, const v1::DownloadRequest* request,
                            grpc::ServerWriter<v1::BlobChunk>* writer) override {
    const uint8_t units = request->blob().empty() ? 0 : static_cast<uint8_t>(request->blob()[0]);
    if (units == 0) return ToGrpc(absl::DataLossError("blobs/ab/cd: chunk 3 is damaged"));
    v1::BlobChunk chunk;
    chunk.set_data(std::string(size_t{units} << 16, 'x'));
    writer->Write(chunk);
    return grpc::Status::OK;
  }
};

class ServiceTest : public testing::Test {
 protected:
  void Start(int port) {
    const std::string address = "127.0.0.1:" + std::to_string(port);
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    builder.SetMaxSendMessageSize(-1);
    builder.AddListeningPort(address, ServerCredentialsFor(address).value(), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }
  void TearDown() override {
    if (server_) server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  }
  // The size of the chunk that came, or the error.
  absl::StatusOr<size_t> Download(grpc::Channel& channel, uint8_t units) {
    auto stub =
        v1::Coordinator::NewStub(std::shared_ptr<grpc::Channel>(&channel, [](grpc::Channel*) {}));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    context.set_wait_for_ready(true);
    v1::DownloadRequest request;
    request.set_blob(std::string(1, static_cast<char>(units)));
    auto reader = stub->DownloadBlob(&context, request);
    v1::BlobChunk chunk;
    size_t bytes = 0;
    while (reader->Read(&chunk)) bytes += chunk.data().size();
    const absl::Status status = FromGrpc(reader->Finish());
    if (!status.ok()) return status;
    return bytes;
  }
  BlobService service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

TEST_F(ServiceTest, MessagesUpToTheBound) {
  Start(0);
  ASSERT_GT(port_, 0);
  const auto channel = ConnectTo("127.0.0.1:" + std::to_string(port_)).value();
  EXPECT_EQ(Download(*channel, 127).value(), size_t{127} << 16);  // 64 KiB under 8 MiB
  EXPECT_EQ(Download(*channel, 128).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ServiceTest, ErrorsArriveAsTheyWereSent) {
  Start(0);
  ASSERT_GT(port_, 0);
  const auto channel = ConnectTo("127.0.0.1:" + std::to_string(port_)).value();
  EXPECT_EQ(Download(*channel, 0).status(), absl::DataLossError("blobs/ab/cd: chunk 3 is damaged"));
}

TEST_F(ServiceTest, AChannelComesBackWhenTheServerDoes) {
  Start(0);
  const int port = port_;
  ASSERT_GT(port, 0);
  const auto channel = ConnectTo("127.0.0.1:" + std::to_string(port)).value();
  ASSERT_TRUE(Download(*channel, 1).ok());
  server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
  Start(port);
  ASSERT_NE(server_, nullptr);
  EXPECT_EQ(Download(*channel, 1).value(), size_t{1} << 16);
}

}  // namespace
}  // namespace atl::rpc
