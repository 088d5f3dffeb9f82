// A two-way, ordered, reliable stream of frames between a site's agent and rank 0 of its trainer.
// Unix sockets now; the interface asks for nothing that TCP inside a site or a spool folder could
// not give.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"

namespace atl::sitelink {

inline constexpr uint32_t kProtocolVersion = 2;
inline constexpr uint64_t kMaxFrameBytes = 4 << 20;

struct Frame {
  uint16_t type = 0;  // a MessageType
  Bytes payload;
};

// Thread-safe for one sender and one receiver at a time.
class Link {
 public:
  virtual ~Link() = default;
  // INVALID_ARGUMENT over kMaxFrameBytes; UNAVAILABLE when the other end is gone.
  virtual absl::Status Send(const Frame& frame) = 0;
  // Waits at most timeout_ms (< 0: as long as it takes). DEADLINE_EXCEEDED when nothing came,
  // UNAVAILABLE when the other end is gone, INVALID_ARGUMENT for a frame that is too long.
  virtual absl::StatusOr<Frame> Receive(int timeout_ms) = 0;
  // Ends both directions; a Receive in another thread returns UNAVAILABLE.
  virtual void Close() = 0;
};

// The agent's end: listens until the trainer has connected.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual std::string address()
      const = 0;  // what the trainer is given: "unix:/run/..../trainer.sock"
  // DEADLINE_EXCEEDED when nobody came within timeout_ms.
  virtual absl::StatusOr<std::unique_ptr<Link>> Accept(int timeout_ms) = 0;
};

// A socket `name`.sock in `folder`, which should be private (0700). INVALID_ARGUMENT when the path
// is over the 107 bytes that the system allows. The socket file is removed with the listener.
absl::StatusOr<std::unique_ptr<Listener>> ListenUnix(const std::string& folder,
                                                     const std::string& name);

// The trainer's end. INVALID_ARGUMENT for an address of an unknown kind.
absl::StatusOr<std::unique_ptr<Link>> Connect(const std::string& address, int timeout_ms);

}  // namespace atl::sitelink
