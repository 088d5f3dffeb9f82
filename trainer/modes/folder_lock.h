// One process at a time in a folder.
#pragma once

#include <filesystem>
#include <utility>

#include "absl/status/statusor.h"

namespace atl::trainer {

// Held until it is destroyed or its process ends, however it ends. Leaves no file.
class FolderLock {
 public:
  // UNAVAILABLE when another process has it. On a file system without such locks it is given to
  // everybody.
  static absl::StatusOr<FolderLock> Take(const std::filesystem::path& folder);
  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace atl::trainer
