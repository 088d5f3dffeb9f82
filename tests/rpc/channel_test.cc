#include "comms/rpc/channel.h"

#include "gmock/gmock.h"

namespace atl::rpc {
namespace {

using ::testing::HasSubstr;

TEST(CheckAddress, Good) {
  for (const char* address : {"127.0.0.1:7700", "localhost:0", "[::1]:65535", "0.0.0.0:1",
                              "node-3.cluster.example:7700", "[2001:db8::1]:7700"}) {
    EXPECT_EQ(CheckAddress(address), absl::OkStatus()) << address;
  }
}

TEST(CheckAddress, BadOnesAreNamed) {
  for (const char* address :
       {"", "127.0.0.1", ":7700", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:7a",
        "127.0.0.1: 77", "127.0.0.1:000000", "::1:7700", "[::1]", "[::1:7700", "[]:7700",
        "[127.0.0.1]:7700", "a b:7700", "http://localhost:7700", "unix:/tmp/socket:1",
        "localhost/x:7700"}) {
    const absl::Status status = CheckAddress(address);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(std::string(status.message()), HasSubstr("'" + std::string(address) + "'"));
    EXPECT_FALSE(IsLoopback(address)) << address;
    EXPECT_EQ(ServerCredentialsFor(address).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ConnectTo(address).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(CheckAddress(std::string(254, 'a') + ":1").code(), absl::StatusCode::kInvalidArgument);
}

TEST(IsLoopback, Cases) {
  for (const char* address : {"127.0.0.1:7700", "127.255.255.254:1", "127.0.0.0:1", "localhost:1",
                              "[::1]:7700", "[0:0:0:0:0:0:0:1]:7700"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  // An IPv4 address in IPv6 clothes, names that only begin or end like one of ours, and short forms
  // of addresses that programs read differently.
  for (const char* address :
       {"0.0.0.0:7700", "126.255.255.255:1", "128.0.0.1:1", "10.0.0.1:7700", "[::]:7700",
        "[::2]:7700", "[fe80::1]:7700", "[::ffff:127.0.0.1]:7700", "[::ffff:10.0.0.1]:1",
        "localhost.example.com:1", "127.0.0.1.example.com:1", "notlocalhost:1", "127.1:7700",
        "2130706433:7700", "0177.0.0.1:7700", "127.0.0.01:7700"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

TEST(ServerCredentials, OnlyLoopbackWithoutTls) {
  for (const char* address : {"127.0.0.1:7700", "localhost:7700", "[::1]:7700"}) {
    const auto credentials = ServerCredentialsFor(address);
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    EXPECT_NE(*credentials, nullptr);
  }
  for (const char* address : {"0.0.0.0:7700", "[::]:7700", "10.1.2.3:7700", "node3:7700"}) {
    const absl::Status status = ServerCredentialsFor(address).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("refuses to listen on " + std::string(address) +
                          " without TLS; Atoll has no TLS yet: listen on a loopback address"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.1:7700"));
    const absl::Status connect = ConnectTo(address).status();
    EXPECT_EQ(connect.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(connect.message()),
                HasSubstr("refuses to connect to " + std::string(address)));
  }
}

TEST(Status, EveryCodeGoesThereAndBack) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_EQ(FromGrpc(grpc::Status::OK), absl::OkStatus());
  const struct {
    absl::Status ours;
    grpc::StatusCode theirs;
  } kCases[] = {{absl::CancelledError("a"), grpc::StatusCode::CANCELLED},
                {absl::UnknownError("b"), grpc::StatusCode::UNKNOWN},
                {absl::InvalidArgumentError("c"), grpc::StatusCode::INVALID_ARGUMENT},
                {absl::DeadlineExceededError("d"), grpc::StatusCode::DEADLINE_EXCEEDED},
                {absl::NotFoundError("e"), grpc::StatusCode::NOT_FOUND},
                {absl::AlreadyExistsError("f"), grpc::StatusCode::ALREADY_EXISTS},
                {absl::PermissionDeniedError("g"), grpc::StatusCode::PERMISSION_DENIED},
                {absl::ResourceExhaustedError("h"), grpc::StatusCode::RESOURCE_EXHAUSTED},
                {absl::FailedPreconditionError("i"), grpc::StatusCode::FAILED_PRECONDITION},
                {absl::AbortedError("j"), grpc::StatusCode::ABORTED},
                {absl::OutOfRangeError("k"), grpc::StatusCode::OUT_OF_RANGE},
                {absl::UnimplementedError("l"), grpc::StatusCode::UNIMPLEMENTED},
                {absl::InternalError("m"), grpc::StatusCode::INTERNAL},
                {absl::UnavailableError("n"), grpc::StatusCode::UNAVAILABLE},
                {absl::DataLossError("o"), grpc::StatusCode::DATA_LOSS},
                {absl::UnauthenticatedError("p"), grpc::StatusCode::UNAUTHENTICATED}};
  for (const auto& c : kCases) {
    EXPECT_EQ(ToGrpc(c.ours).error_code(), c.theirs) << c.ours;
    EXPECT_EQ(ToGrpc(c.ours).error_message(), std::string(c.ours.message()));
    EXPECT_EQ(FromGrpc(ToGrpc(c.ours)), c.ours);
  }
}

TEST(Status, ACodeThatIsNoneBecomesUnknown) {
  for (int code : {17, 31, -1}) {
    const absl::Status status =
        FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(code), "odd thing"));
    EXPECT_EQ(status.code(), absl::StatusCode::kUnknown) << code;
    EXPECT_THAT(std::string(status.message()), HasSubstr("odd thing"));
  }
}

}  // namespace
}  // namespace atl::rpc
