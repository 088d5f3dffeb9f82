// File descriptors, whole reads and writes, and what errno means to a store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"

namespace atl::store {

// Of blobs and vectors.
inline constexpr uint32_t kMaxChunkBytes = 4u << 20;
inline constexpr uint32_t kMaxChunks = 1u << 20;

// A file descriptor that is closed when dropped. Movable.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// RESOURCE_EXHAUSTED for a full disk, quota or file size limit, NOT_FOUND, PERMISSION_DENIED (also
// read-only file systems), UNAVAILABLE for the rest: "path: what: reason".
absl::Status FileError(int error, const std::filesystem::path& path, std::string_view what);

// All of it, or the error.
absl::Status WriteAt(int fd, uint64_t offset, ByteView bytes, const std::filesystem::path& path);
// All of it; DATA_LOSS when the file ends before.
absl::Status ReadAt(int fd, uint64_t offset, std::span<uint8_t> out,
                    const std::filesystem::path& path);
absl::Status SyncData(int fd, const std::filesystem::path& path);  // fdatasync
absl::Status SyncFolder(const std::filesystem::path& folder);

// Holds `path` with flock as long as it lives, so that one process at a time uses what the file
// stands for. The file stays. FAILED_PRECONDITION "another `what` uses ..." when somebody else has
// it.
class FileLock {
 public:
  static absl::StatusOr<FileLock> Take(const std::filesystem::path& path, std::string_view what);

 private:
  explicit FileLock(OwnedFd fd) : fd_(std::move(fd)) {}
  OwnedFd fd_;
};

}  // namespace atl::store
