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

// Bytes of a file where the page cache has them, or a copy of them. Movable.
class FileView {
 public:
  // Bytes [offset, offset + size) of the file. All of it is in memory when it returns OK, so that
  // an error of the disk is a status and no signal (but where memory runs so short meanwhile that
  // pages are dropped and cannot be read again). DATA_LOSS when the file ends before. Where the
  // system cannot map it or bring it in, it is read. Parameters as ReadAt's.
  static absl::StatusOr<FileView> Of(int fd, uint64_t offset, uint64_t size,
                                     const std::filesystem::path& path);
  FileView() = default;
  FileView(FileView&& other) noexcept { Swap(other); }
  FileView& operator=(FileView&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~FileView();
  ByteView bytes() const { return bytes_; }

 private:
  void Swap(FileView& other) {
    std::swap(bytes_, other.bytes_);
    std::swap(pages_, other.pages_);
    std::swap(copy_, other.copy_);
  }
  ByteView bytes_;
  // A mapping of its own: in one of the whole file the system maps more than is asked for, and
  // nobody would let go of that. Empty: a copy.
  std::span<uint8_t> pages_;
  Bytes copy_;
};

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
