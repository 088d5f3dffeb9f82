// Channels, servers and the seam for TLS.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/grpcpp.h"

namespace atl::rpc {

inline constexpr int kMaxMessageBytes = 8 << 20;
inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr uint32_t kBlobChunkBytes = 1 << 20;
inline constexpr int kMaxUnacknowledgedChunks = 8;
inline constexpr uint32_t kMaxCheckedChunks = 64;  // asked for in one spot check

// "host:port". INVALID_ARGUMENT when it is not one.
absl::Status CheckAddress(const std::string& address);
// True for 127.0.0.0/8, [::1] and localhost.
bool IsLoopback(const std::string& address);

// Credentials of a server that listens on `address`: plain text on loopback, else
// FAILED_PRECONDITION, since there is no TLS to protect another address.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentialsFor(
    const std::string& address);
absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectTo(const std::string& address);

grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace atl::rpc
