#include "comms/collectives/mpi/node_window.h"

#include <sys/mman.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "comms/base/status.h"
#include "comms/collectives/mpi/mpi_error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace atl {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kSpare = 1 << 20;  // for MPI's own words in the window

std::string BackingFolder() {
  const char* folder = std::getenv("OMPI_MCA_osc_sm_backing_directory");
  return folder != nullptr ? folder : "/dev/shm";
}

// Bytes that the folder's file system has free; 0 when it is not there.
uint64_t Room(const std::string& folder) {
  struct statvfs stats;
  if (statvfs(folder.c_str(), &stats) != 0) return 0;
  return uint64_t{stats.f_bavail} * stats.f_frsize;
}

// Whether `mine` is true on all ranks; false as well when MPI fails.
bool OnAll(MPI_Comm node, bool mine) {
  int value = mine ? 1 : 0, least = 0;
  return MPI_Allreduce(&value, &least, 1, MPI_INT, MPI_MIN, node) == MPI_SUCCESS && least == 1;
}

// Up to the next page. The same place in every process: each maps the window's file at a page.
char* PageAt(char* address) {
  return address + (kPage - reinterpret_cast<uintptr_t>(address) % kPage) % kPage;
}

// Brings the pages in. False when the system has no room for them.
bool Populate(char* begin, uint64_t bytes) {
  if (madvise(begin, bytes, MADV_POPULATE_WRITE) == 0) return true;
  return errno == EINVAL;  // Linux before 5.14 brings them in when they are written
}

absl::Status NoRoom(uint64_t bytes) {
  return absl::ResourceExhaustedError(absl::StrCat(BackingFolder(), " has no room for a window of ",
                                                   bytes, " bytes shared by ranks"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NodeWindow>> NodeWindow::Create(MPI_Comm node, uint64_t bytes) {
  int ranks = 0;
  if (bytes > UINT64_MAX / 4) return absl::InvalidArgumentError("window: too many bytes");
  // Open MPI starts a part anywhere: room to move to a page.
  uint64_t total = 0, mine = (bytes + kPage - 1) / kPage * kPage + kPage;
  ATOLL_RETURN_IF_ERROR(MpiStatus(MPI_Comm_size(node, &ranks), "MPI_Comm_size"));
  ATOLL_RETURN_IF_ERROR(
      MpiStatus(MPI_Allreduce(&mine, &total, 1, MPI_UINT64_T, MPI_SUM, node), "MPI_Allreduce"));
  if (!OnAll(node, Room(BackingFolder()) >= total + kSpare)) return NoRoom(total);

  std::unique_ptr<NodeWindow> window(new NodeWindow);
  // Parts on pages of their own: each rank's memory is then near to its processor.
  MPI_Info info = MPI_INFO_NULL;
  MPI_Info_create(&info);
  MPI_Info_set(info, "alloc_shared_noncontig", "true");
  char* base = nullptr;
  const int code =
      MPI_Win_allocate_shared(static_cast<MPI_Aint>(mine), 1, info, node, &base, &window->window_);
  MPI_Info_free(&info);
  if (code != MPI_SUCCESS) window->window_ = MPI_WIN_NULL;
  if (!OnAll(node, code == MPI_SUCCESS)) {
    ATOLL_RETURN_IF_ERROR(MpiStatus(code, "MPI_Win_allocate_shared"));
    return absl::ResourceExhaustedError("MPI_Win_allocate_shared failed on another rank");
  }
  window->bytes_ = bytes;
  bool found = true;
  for (int rank = 0; rank < ranks; ++rank) {
    MPI_Aint size = 0;
    int unit = 0;
    char* part = nullptr;
    found &= MPI_Win_shared_query(window->window_, rank, &size, &unit, &part) == MPI_SUCCESS;
    window->parts_.push_back(part != nullptr ? PageAt(part) : nullptr);
  }
  if (!OnAll(node, found && Populate(PageAt(base), mine - kPage))) return NoRoom(total);
  return window;
}

NodeWindow::~NodeWindow() {
  if (window_ != MPI_WIN_NULL) MPI_Win_free(&window_);
}

}  // namespace atl
