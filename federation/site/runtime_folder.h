// A private place for sockets, whose paths the system limits to 107 bytes.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"

namespace atl::site {

// `data_folder`/run where that is short enough, else /tmp/atoll-<uid>-<hash of the data folder>:
// the same one each time, so that a former life's is found and emptied. Mode 0700, owned by us.
// Removed on destruction. Whoever opens it must hold the data folder's lock.
class RuntimeFolder {
 public:
  // PERMISSION_DENIED when somebody else owns the folder.
  static absl::StatusOr<RuntimeFolder> Open(const std::filesystem::path& data_folder);
  RuntimeFolder(RuntimeFolder&& other) noexcept;
  RuntimeFolder& operator=(RuntimeFolder&&) = delete;
  ~RuntimeFolder();

  const std::filesystem::path& path() const { return path_; }

 private:
  explicit RuntimeFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace atl::site
