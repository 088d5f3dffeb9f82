#include "comms/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "comms/base/random.h"
#include "comms/base/status.h"

namespace atl {
namespace {

namespace fs = std::filesystem;

constexpr size_t kReadPiece = size_t{1} << 20;
constexpr std::string_view kStagedPrefix = ".atoll-", kStagedSuffix = ".tmp";

absl::Status ErrnoStatus(int error, const fs::path& path, const char* what) {
  return absl::ErrnoToStatus(error, absl::StrCat(path.string(), ": cannot ", what));
}

// The folder that holds `path`; "." for a bare name.
fs::path FolderOf(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

absl::Status SyncFolder(const fs::path& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, folder, "open the folder to sync it");
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  // Some file systems cannot sync a folder; there the rename is as durable as it gets.
  if (error != 0 && error != EINVAL) return ErrnoStatus(error, folder, "sync the folder");
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteFileAtomic(const fs::path& path, ByteView bytes, int mode) {
  ATOLL_ASSIGN_OR_RETURN(StagedFile file, StagedFile::Create(path, mode));
  ATOLL_RETURN_IF_ERROR(file.Append(bytes));
  return file.Commit();
}

absl::StatusOr<Bytes> ReadFile(const fs::path& path, uint64_t max_bytes) {
  // Without O_NONBLOCK, opening a FIFO that somebody put there would hang.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoStatus(errno, path, "open");
  const auto too_large = [&](uint64_t size) {
    return absl::OutOfRangeError(absl::StrCat(path.string(), ": at least ", size,
                                              " bytes, at most ", max_bytes, " are allowed"));
  };
  const auto read_all = [&]() -> absl::StatusOr<Bytes> {
    struct stat info;
    if (fstat(fd, &info) != 0) return ErrnoStatus(errno, path, "look up");
    if (!S_ISREG(info.st_mode)) {
      return absl::FailedPreconditionError(absl::StrCat(path.string(), ": is no regular file"));
    }
    const uint64_t expected = static_cast<uint64_t>(info.st_size);
    if (expected > max_bytes) return too_large(expected);
    // One byte more than expected, so that a file of that size is read and seen to end without
    // growing the buffer; the loop is for files that grow meanwhile and for those of /proc, which
    // have no size.
    Bytes bytes(expected + 1);
    size_t size = 0;
    while (true) {
      if (size == bytes.size()) bytes.resize(size + kReadPiece);
      const ssize_t got = read(fd, bytes.data() + size, bytes.size() - size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return ErrnoStatus(errno, path, "read");
      if (got == 0) break;
      size += static_cast<size_t>(got);
      if (size > max_bytes) return too_large(size);
    }
    bytes.resize(size);
    return bytes;
  };
  absl::StatusOr<Bytes> result = read_all();
  close(fd);
  return result;
}

absl::Status MakeFolder(const fs::path& path, int mode) {
  const fs::path folder = path.has_filename() ? path : path.parent_path();
  std::error_code error;
  if (folder.has_parent_path()) fs::create_directories(folder.parent_path(), error);
  if (error) return ErrnoStatus(error.value(), folder.parent_path(), "make the folder");
  if (mkdir(folder.c_str(), static_cast<mode_t>(mode)) == 0) return absl::OkStatus();
  const int mkdir_error = errno;
  if (mkdir_error == EEXIST && fs::is_directory(folder, error)) return absl::OkStatus();
  return ErrnoStatus(mkdir_error, folder, "make the folder");
}

absl::StatusOr<StagedFile> StagedFile::Create(const fs::path& path, int mode) {
  if (!path.has_filename()) {
    return absl::InvalidArgumentError(absl::StrCat("'", path.string(), "': names no file"));
  }
  StagedFile file;
  file.path_ = path;
  // Short and independent of the name, which may be as long as the file system allows already. Not
  // mkostemp: it ignores the umask.
  for (int attempt = 0; attempt < 8; ++attempt) {
    uint8_t unique[8];
    SystemRandom().Fill(unique);
    file.temporary_ =
        FolderOf(path) / (std::string(kStagedPrefix) + Hex(unique) + std::string(kStagedSuffix));
    file.fd_ = open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                    static_cast<mode_t>(mode));
    if (file.fd_ >= 0 || errno != EEXIST) break;
  }
  if (file.fd_ < 0) return ErrnoStatus(errno, path, "create a file beside it");
  return file;
}

StagedFile::StagedFile(StagedFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)) {}

StagedFile::~StagedFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

absl::Status StagedFile::Append(ByteView bytes) {
  if (fd_ < 0) {
    return absl::FailedPreconditionError(absl::StrCat(path_.string(), ": already committed"));
  }
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, path_, "write");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status StagedFile::WriteAt(uint64_t offset, ByteView bytes) {
  if (fd_ < 0) {
    return absl::FailedPreconditionError(absl::StrCat(path_.string(), ": already committed"));
  }
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, path_, "write");
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status StagedFile::Commit() {
  if (fd_ < 0) {
    return absl::FailedPreconditionError(absl::StrCat(path_.string(), ": already committed"));
  }
  // On any failure up to the rename the destructor still owns the temporary file and removes it.
  if (fsync(fd_) != 0) return ErrnoStatus(errno, path_, "sync");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, path_, "put the finished file in place");
  }
  close(std::exchange(fd_, -1));
  return SyncFolder(FolderOf(path_));
}

void RemoveStagedLeftovers(const fs::path& folder) {
  std::error_code error, ignored;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(kStagedPrefix) && name.ends_with(kStagedSuffix))
      fs::remove(it->path(), ignored);
  }
}

absl::StatusOr<TemporaryFolder> TemporaryFolder::Create(std::string_view prefix) {
  const char* const base = std::getenv("TMPDIR");
  std::string name =
      (fs::path(base != nullptr && *base != '\0' ? base : "/tmp") / prefix).string() + "XXXXXX";
  if (mkdtemp(name.data()) == nullptr) return ErrnoStatus(errno, name, "make a temporary folder");
  TemporaryFolder folder;
  folder.path_ = name;
  return folder;
}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept
    : path_(std::exchange(other.path_, fs::path())) {}

TemporaryFolder::~TemporaryFolder() {
  if (path_.empty()) return;
  std::error_code ignored;  // what cannot be removed belongs to somebody else by now
  fs::remove_all(path_, ignored);
}

}  // namespace atl
