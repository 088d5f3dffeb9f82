// Files that are there whole or not at all.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"

namespace atl {

// Writes to a temporary name beside `path`, syncs the file, renames, syncs the folder. `mode` are
// permission bits. Errors name the path and the system's reason (no space, read-only, permission);
// nothing half-written stays.
absl::Status WriteFileAtomic(const std::filesystem::path& path, ByteView bytes, int mode = 0644);

// NOT_FOUND, PERMISSION_DENIED, or OUT_OF_RANGE when the file has more than max_bytes.
absl::StatusOr<Bytes> ReadFile(const std::filesystem::path& path, uint64_t max_bytes);

// mkdir -p with `mode` for the last folder.
absl::Status MakeFolder(const std::filesystem::path& path, int mode = 0755);

// A file that is written piece by piece and appears under its name only when committed. Not
// thread-safe.
class StagedFile {
 public:
  static absl::StatusOr<StagedFile> Create(const std::filesystem::path& path, int mode = 0644);
  StagedFile(StagedFile&& other) noexcept;
  StagedFile& operator=(StagedFile&&) = delete;
  ~StagedFile();  // removes what was not committed
  absl::Status Append(ByteView bytes);
  absl::Status WriteAt(uint64_t offset, ByteView bytes);
  absl::Status Commit();  // sync, rename, sync the folder

 private:
  StagedFile() = default;
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

// Removes what processes that were killed left of StagedFiles in a folder. Nobody may write one
// there meanwhile.
void RemoveStagedLeftovers(const std::filesystem::path& folder);

// A private folder (0700) under $TMPDIR, removed with all it holds on destruction.
class TemporaryFolder {
 public:
  static absl::StatusOr<TemporaryFolder> Create(std::string_view prefix);
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  TemporaryFolder() = default;
  std::filesystem::path path_;
};

}  // namespace atl
