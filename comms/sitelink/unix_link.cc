// Links over Unix stream sockets. On the wire a frame is u32 payload length, u16 type
// (little-endian), payload.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "comms/base/status.h"
#include "comms/sitelink/link.h"

namespace atl::sitelink {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr size_t kHeaderBytes = 6;

// Time left of a wait. A negative timeout never ends.
class Deadline {
 public:
  explicit Deadline(int timeout_ms)
      : endless_(timeout_ms < 0),
        at_(std::chrono::steady_clock::now() + std::chrono::milliseconds(std::max(timeout_ms, 0))) {
  }
  int LeftMs() const {
    if (endless_) return -1;
    auto left =
        std::chrono::ceil<std::chrono::milliseconds>(at_ - std::chrono::steady_clock::now());
    return static_cast<int>(std::max<int64_t>(left.count(), 0));
  }

 private:
  bool endless_;
  std::chrono::steady_clock::time_point at_;
};

absl::Status Gone(std::string_view what, int error) {
  return absl::UnavailableError(
      absl::StrCat("site link closed while ", absl::string_view(what.data(), what.size()),
                   error == 0 ? "" : absl::StrCat(": ", strerror(error))));
}

// OK when `fd` is ready for `events` (or in error, which the next call shows), DEADLINE_EXCEEDED
// when time is up.
absl::Status WaitFor(int fd, short events, const Deadline& deadline) {
  while (true) {
    pollfd entry{fd, events, 0};
    int ready = poll(&entry, 1, deadline.LeftMs());
    if (ready > 0) return absl::OkStatus();
    if (ready == 0) return absl::DeadlineExceededError("nothing came over the site link in time");
    if (errno != EINTR) return absl::InternalError(absl::StrCat("poll: ", strerror(errno)));
  }
}

class UnixLink : public Link {
 public:
  explicit UnixLink(int fd) : fd_(fd) {}
  ~UnixLink() override { close(fd_); }

  absl::Status Send(const Frame& frame) override {
    if (frame.payload.size() > kMaxFrameBytes) {
      return absl::InvalidArgumentError(absl::StrCat("a frame of ", frame.payload.size(),
                                                     " bytes is over the site link's limit of ",
                                                     kMaxFrameBytes));
    }
    uint32_t length = static_cast<uint32_t>(frame.payload.size());
    std::array<uint8_t, kHeaderBytes> header;
    for (int i = 0; i < 4; ++i) header[i] = static_cast<uint8_t>(length >> (8 * i));
    for (int i = 0; i < 2; ++i) header[4 + i] = static_cast<uint8_t>(frame.type >> (8 * i));
    ATOLL_RETURN_IF_ERROR(SendAll(header));
    return SendAll(frame.payload);
  }

  absl::StatusOr<Frame> Receive(int timeout_ms) override {
    Deadline deadline(timeout_ms);
    // What has come of a frame stays here when time is up: the next call goes on with it.
    ATOLL_RETURN_IF_ERROR(ReceiveInto(header_, header_got_, deadline));
    uint32_t length = 0;
    for (int i = 0; i < 4; ++i) length |= uint32_t{header_[i]} << (8 * i);
    if (length >
        kMaxFrameBytes) {  // and again at each later call: nothing behind it can be trusted
      Close();
      return absl::InvalidArgumentError(
          absl::StrCat("the other end of the site link announced a frame of ", length,
                       " bytes; the limit is ", kMaxFrameBytes));
    }
    frame_.type = static_cast<uint16_t>(header_[4] | header_[5] << 8);
    frame_.payload.resize(length);
    ATOLL_RETURN_IF_ERROR(ReceiveInto(frame_.payload, payload_got_, deadline));
    header_got_ = payload_got_ = 0;
    return std::move(frame_);
  }

  // The descriptor itself stays until destruction, so that a thread in Receive never reads another
  // file's.
  void Close() override { shutdown(fd_, SHUT_RDWR); }

 private:
  absl::Status SendAll(ByteView bytes) {
    while (!bytes.empty()) {
      ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno == EINTR) continue;
        return Gone("sending", errno);
      }
      bytes = bytes.subspan(static_cast<size_t>(sent));
    }
    return absl::OkStatus();
  }

  // Fills out[got..]; `got` advances also when an error ends it.
  absl::Status ReceiveInto(std::span<uint8_t> out, size_t& got, const Deadline& deadline) {
    while (got < out.size()) {
      ATOLL_RETURN_IF_ERROR(WaitFor(fd_, POLLIN, deadline));
      ssize_t read = recv(fd_, out.data() + got, out.size() - got, MSG_DONTWAIT);
      if (read == 0) return Gone("receiving", 0);
      if (read < 0) {
        if (errno == EINTR || errno == EAGAIN) continue;
        return Gone("receiving", errno);
      }
      got += static_cast<size_t>(read);
    }
    return absl::OkStatus();
  }

  const int fd_;
  std::array<uint8_t, kHeaderBytes> header_{};
  size_t header_got_ = 0;
  Frame frame_;
  size_t payload_got_ = 0;
};

absl::StatusOr<sockaddr_un> SocketAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("socket path '", path, "' has ", path.size(),
                                                   " bytes; 1 to ", sizeof(address.sun_path) - 1,
                                                   " are possible"));
  }
  memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<int> NewSocket() {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::InternalError(absl::StrCat("socket: ", strerror(errno)));
  return fd;
}

class UnixListener : public Listener {
 public:
  UnixListener(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~UnixListener() override {
    close(fd_);
    unlink(path_.c_str());
  }
  std::string address() const override { return absl::StrCat("unix:", path_); }

  absl::StatusOr<std::unique_ptr<Link>> Accept(int timeout_ms) override {
    Deadline deadline(timeout_ms);
    while (true) {
      if (absl::Status ready = WaitFor(fd_, POLLIN, deadline); !ready.ok()) {
        return Annotate(ready, absl::StrCat("waiting for a trainer at ", address()));
      }
      int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) {
        if (errno == EINTR || errno == ECONNABORTED || errno == EAGAIN) continue;
        return absl::InternalError(absl::StrCat("accept at ", address(), ": ", strerror(errno)));
      }
      // A folder's permissions may be loosened; the kernel's word about the peer may not.
      ucred peer{};
      socklen_t size = sizeof(peer);
      if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != geteuid()) {
        close(fd);
        continue;
      }
      return std::make_unique<UnixLink>(fd);
    }
  }

 private:
  const int fd_;
  const std::string path_;
};

absl::StatusOr<std::unique_ptr<Link>> ConnectUnix(const std::string& path, int timeout_ms) {
  ATOLL_ASSIGN_OR_RETURN(sockaddr_un address, SocketAddress(path));
  Deadline deadline(timeout_ms);
  while (true) {
    ATOLL_ASSIGN_OR_RETURN(int fd, NewSocket());
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      return std::make_unique<UnixLink>(fd);
    }
    int error = errno;
    close(fd);
    // The agent may not listen yet.
    bool may_come = error == ENOENT || error == ECONNREFUSED || error == EAGAIN || error == EINTR;
    if (!may_come || deadline.LeftMs() == 0) {
      return absl::UnavailableError(
          absl::StrCat("cannot connect to the site link unix:", path, ": ", strerror(error)));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> ListenUnix(const std::string& folder,
                                                     const std::string& name) {
  std::string path = absl::StrCat(folder, "/", name, ".sock");
  ATOLL_ASSIGN_OR_RETURN(sockaddr_un address, SocketAddress(path));
  ATOLL_ASSIGN_OR_RETURN(int fd, NewSocket());
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    int error = errno;
    close(fd);
    return absl::InternalError(absl::StrCat("cannot listen at unix:", path, ": ", strerror(error)));
  }
  auto listener = std::make_unique<UnixListener>(fd, path);
  if (listen(fd, 4) != 0) {
    return absl::InternalError(absl::StrCat("cannot listen at unix:", path, ": ", strerror(errno)));
  }
  return listener;
}

absl::StatusOr<std::unique_ptr<Link>> Connect(const std::string& address, int timeout_ms) {
  if (address.starts_with(kUnixPrefix))
    return ConnectUnix(address.substr(kUnixPrefix.size()), timeout_ms);
  return absl::InvalidArgumentError(
      absl::StrCat("site link address '", address, "' is of no known kind; known: unix:PATH"));
}

}  // namespace atl::sitelink
