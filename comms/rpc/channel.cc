#include "comms/rpc/channel.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "absl/strings/numbers.h"
#include "comms/base/status.h"

namespace atl::rpc {
namespace {

// Hosts are names of at most 253 characters (RFC 1035) or addresses.
constexpr size_t kMaxHostCharacters = 253;
constexpr int kReconnectFirstMs = 200;
constexpr int kReconnectMaxMs = 5'000;
constexpr int kConnectTimeoutMs = 5'000;

struct HostPort {
  std::string host;  // without brackets
  bool bracketed = false;
};

absl::Status BadAddress(const std::string& address, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "'", address,
      "' is no address of the form host:port: ", absl::string_view(why.data(), why.size())));
}

bool IsIpv6(const std::string& host) {
  in6_addr parsed;
  return inet_pton(AF_INET6, host.c_str(), &parsed) == 1;
}

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_';
}

absl::StatusOr<HostPort> Split(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return BadAddress(address, "it has no port");
  HostPort out;
  out.host = address.substr(0, colon);
  const std::string port = address.substr(colon + 1);
  uint32_t number = 0;
  const bool digits =
      !port.empty() && port.size() <= 5 &&
      std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || !absl::SimpleAtoi(port, &number) || number > 65535) {
    return BadAddress(address, absl::StrCat("port '", port, "' must be 0..65535"));
  }
  if (out.host.size() >= 2 && out.host.front() == '[' && out.host.back() == ']') {
    out.host = out.host.substr(1, out.host.size() - 2);
    out.bracketed = true;
    if (!IsIpv6(out.host))
      return BadAddress(address, "what stands in brackets must be an IPv6 address");
    return out;
  }
  if (out.host.empty()) return BadAddress(address, "it has no host");
  if (out.host.find(':') != std::string::npos) {
    return BadAddress(address, "an IPv6 address must stand in brackets, as in [::1]:7700");
  }
  if (out.host.size() > kMaxHostCharacters ||
      !std::all_of(out.host.begin(), out.host.end(), IsNameCharacter)) {
    return BadAddress(address, "the host must be a name or an IP address");
  }
  return out;
}

}  // namespace

absl::Status CheckAddress(const std::string& address) { return Split(address).status(); }

bool IsLoopback(const std::string& address) {
  const absl::StatusOr<HostPort> parts = Split(address);
  if (!parts.ok()) return false;
  if (parts->bracketed) {
    in6_addr parsed;
    return inet_pton(AF_INET6, parts->host.c_str(), &parsed) == 1 && IN6_IS_ADDR_LOOPBACK(&parsed);
  }
  if (parts->host == "localhost") return true;
  in_addr parsed;
  return inet_pton(AF_INET, parts->host.c_str(), &parsed) == 1 &&
         (ntohl(parsed.s_addr) >> 24) == 127;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentialsFor(
    const std::string& address) {
  ATOLL_RETURN_IF_ERROR(CheckAddress(address));
  if (!IsLoopback(address)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "refuses to listen on ", address,
        " without TLS; Atoll has no TLS yet: listen on a loopback address, for instance 127.0.0.1",
        address.substr(address.rfind(':'))));
  }
  return grpc::InsecureServerCredentials();
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectTo(const std::string& address) {
  ATOLL_RETURN_IF_ERROR(CheckAddress(address));
  if (!IsLoopback(address)) {
    return absl::FailedPreconditionError(
        absl::StrCat("refuses to connect to ", address,
                     " without TLS; Atoll has no TLS yet: connect to a loopback address (over an "
                     "SSH tunnel to another machine)"));
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectFirstMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  // In spite of its name gRPC also takes this as the time one attempt to connect may last.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  // A loopback address must not go through a proxy of the environment, and a channel must not share
  // its connection (and flow control) with another one of the same process.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// Both take their codes from the same list (google.rpc.Code), so the numbers are the same.
grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.raw_code()),
                      std::string(status.message()));
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = static_cast<int>(status.error_code());
  // A peer may send any number.
  if (code < 1 || code > 16) {
    return absl::UnknownError(absl::StrCat("status code ", code, ": ", status.error_message()));
  }
  return absl::Status(static_cast<absl::StatusCode>(code), status.error_message());
}

}  // namespace atl::rpc
