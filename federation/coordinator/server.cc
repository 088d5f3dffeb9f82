#include "federation/coordinator/server.h"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"
#include "federation/store/file.h"

namespace atl::coordinator {
namespace {

constexpr int kThreadsMax = 2048;  // two for each site's streams, and those of people
constexpr int kKeepaliveMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 20'000;  // machines that train are slow to answer
constexpr int kPingIntervalMinMs = 1'000;

// Binds to the address for a moment: gRPC itself says nothing of why it could not.
absl::Status CheckFree(const std::string& address, const std::string& host,
                       const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  std::string name = host;
  if (name.size() > 2 && name.front() == '[') name = name.substr(1, name.size() - 2);
  if (const int error = getaddrinfo(name.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot listen on ", address, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
  const store::OwnedFd fd(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (fd.valid()) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (fd.valid() && bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0 &&
      listen(fd.get(), 1) == 0) {
    return absl::OkStatus();
  }
  if (errno == EADDRINUSE) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address,
                     ": the port is in use by another program; choose another port"));
  }
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address, ": ", strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Listen(const std::string& address,
                                                       Service& service) {
  ATOLL_ASSIGN_OR_RETURN(auto credentials, rpc::ServerCredentialsFor(address));
  const size_t colon = address.rfind(':');
  const std::string host = address.substr(0, colon), port = address.substr(colon + 1);
  if (port != "0") ATOLL_RETURN_IF_ERROR(CheckFree(address, host, port));

  grpc::ResourceQuota quota("coordinator");
  quota.SetMaxThreads(kThreadsMax);
  grpc::ServerBuilder builder;
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(rpc::kMaxMessageBytes);
  builder.SetMaxSendMessageSize(rpc::kMaxMessageBytes);
  // Two servers on one port would share its connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kPingIntervalMinMs);
  int chosen = 0;
  builder.AddListeningPort(address, credentials, &chosen);
  builder.RegisterService(&service);
  std::unique_ptr<Server> server(new Server());
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || chosen == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address));
  }
  server->address_ = absl::StrCat(host, ":", chosen);
  return server;
}

Server::~Server() { Stop(); }

void Server::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  server_->Wait();
  server_.reset();
}

}  // namespace atl::coordinator
