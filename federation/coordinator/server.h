// The gRPC server: address, limits, credentials.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "federation/coordinator/service.h"
#include "grpcpp/grpcpp.h"

namespace atl::coordinator {

class Server {
 public:
  // Listens on "host:port"; port 0 picks a free one. UNAVAILABLE when the port is in use,
  // FAILED_PRECONDITION for an address that needs TLS, INVALID_ARGUMENT when it is no address.
  // `service` outlives the server.
  static absl::StatusOr<std::unique_ptr<Server>> Listen(const std::string& address,
                                                        Service& service);
  ~Server();

  const std::string& address() const { return address_; }  // with the port that it has
  // Ends all calls. Stop the Coordinator first, so that none waits for it.
  void Stop();

 private:
  Server() = default;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace atl::coordinator
