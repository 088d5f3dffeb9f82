#include "federation/site/runtime_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <system_error>
#include <utility>

#include "comms/base/crypto/sha256.h"
#include "comms/base/files.h"
#include "comms/base/status.h"

namespace atl::site {
namespace {

namespace fs = std::filesystem;

// Leaves room for "/job<20 digits>-<3 digits>.sock" in 107 bytes.
constexpr size_t kMaxFolderBytes = 107 - 34;

}  // namespace

absl::StatusOr<RuntimeFolder> RuntimeFolder::Open(const fs::path& data_folder) {
  std::error_code error;
  const fs::path data = fs::absolute(data_folder, error).lexically_normal();
  fs::path path = data / "run";
  if (path.string().size() > kMaxFolderBytes) {
    const std::string hash = Hex(Sha256::Of(AsBytes(data.string()))).substr(0, 16);
    path = fs::path("/tmp") / absl::StrCat("atoll-", getuid(), "-", hash);
  }
  // A link, or a folder of somebody else, at that name in /tmp is not ours to use.
  struct stat info;
  if (lstat(path.c_str(), &info) == 0) {
    if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid()) {
      return absl::PermissionDeniedError(
          absl::StrCat(path.string(), ": is there already and is not this user's folder"));
    }
    fs::remove_all(path, error);
  }
  ATOLL_RETURN_IF_ERROR(MakeFolder(path, 0700));
  return RuntimeFolder(std::move(path));
}

RuntimeFolder::RuntimeFolder(RuntimeFolder&& other) noexcept
    : path_(std::exchange(other.path_, fs::path())) {}

RuntimeFolder::~RuntimeFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

}  // namespace atl::site
