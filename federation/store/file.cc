#include "federation/store/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "comms/base/status.h"

namespace atl::store {
namespace {

std::string Text(std::string_view text) { return std::string(text); }

}  // namespace

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

absl::Status FileError(int error, const std::filesystem::path& path, std::string_view what) {
  const std::string message =
      absl::StrCat(path.string(), ": ", Text(what), ": ", std::generic_category().message(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    case ENOENT:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::Status WriteAt(int fd, uint64_t offset, ByteView bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(errno, path, "cannot write");
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status ReadAt(int fd, uint64_t offset, std::span<uint8_t> out,
                    const std::filesystem::path& path) {
  while (!out.empty()) {
    const ssize_t got = pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, path, "cannot read");
    if (got == 0) {
      return absl::DataLossError(
          absl::StrCat(path.string(), ": ends at byte ", offset, ", ", out.size(), " too early"));
    }
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

FileView::~FileView() {
  if (!pages_.empty()) munmap(pages_.data(), pages_.size());
}

absl::StatusOr<FileView> FileView::Of(int fd, uint64_t offset, uint64_t size,
                                      const std::filesystem::path& path) {
  FileView view;
#ifdef MADV_POPULATE_READ
  struct stat info;
  if (fstat(fd, &info) != 0) return FileError(errno, path, "cannot look up");
  if (static_cast<uint64_t>(info.st_size) < offset + size) {
    return absl::DataLossError(absl::StrCat(path.string(), ": ends at byte ", info.st_size, ", ",
                                            offset + size - info.st_size, " too early"));
  }
  static const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = offset / page * page, mapped = offset + size - first;
  void* start = size == 0
                    ? MAP_FAILED
                    : mmap(nullptr, mapped, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(first));
  if (start != MAP_FAILED) {
    view.pages_ = {static_cast<uint8_t*>(start), mapped};
    if (madvise(start, mapped, MADV_POPULATE_READ) == 0) {
      view.bytes_ = ByteView(view.pages_).subspan(offset - first);
      return view;
    }
  }
#endif
  view.copy_.resize(size);
  ATOLL_RETURN_IF_ERROR(ReadAt(fd, offset, view.copy_, path));
  view.bytes_ = view.copy_;
  return view;
}

absl::Status SyncData(int fd, const std::filesystem::path& path) {
  if (fdatasync(fd) != 0) return FileError(errno, path, "cannot sync");
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::filesystem::path& folder) {
  const OwnedFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return FileError(errno, folder, "cannot open the folder");
  // Some file systems cannot sync a folder; there a rename is as durable as it gets.
  if (fsync(fd.get()) != 0 && errno != EINVAL) return FileError(errno, folder, "cannot sync");
  return absl::OkStatus();
}

absl::StatusOr<FileLock> FileLock::Take(const std::filesystem::path& path, std::string_view what) {
  OwnedFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return FileError(errno, path, "cannot open the lock file");
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return FileError(errno, path, "cannot lock");
    return absl::FailedPreconditionError(absl::StrCat("another ", Text(what), " uses ",
                                                      path.parent_path().string(), " (it holds ",
                                                      path.string(), ")"));
  }
  return FileLock(std::move(fd));
}

}  // namespace atl::store
