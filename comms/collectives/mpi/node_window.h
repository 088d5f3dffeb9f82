// Memory that all ranks of one machine see.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"

namespace atl {

// An MPI shared-memory window: each rank's own part, zero at first and in memory (not merely
// promised), and where the others' parts are.
class NodeWindow {
 public:
  // Called by all ranks of `node`, whose ranks all run on one machine; returns the same code on
  // each. bytes: of this rank's part. RESOURCE_EXHAUSTED when the file system behind the window
  // (Open MPI's osc_sm_backing_directory, /dev/shm by default) or memory has no room on any rank:
  // without this check the first write would end the process.
  static absl::StatusOr<std::unique_ptr<NodeWindow>> Create(MPI_Comm node, uint64_t bytes);
  ~NodeWindow();  // collective as well
  NodeWindow(const NodeWindow&) = delete;
  NodeWindow& operator=(const NodeWindow&) = delete;

  char* part(uint32_t rank) const { return parts_[rank]; }  // aligned to the page
  uint64_t bytes() const { return bytes_; }                 // of this rank's part

 private:
  NodeWindow() = default;
  MPI_Win window_ = MPI_WIN_NULL;
  uint64_t bytes_ = 0;
  std::vector<char*> parts_;
};

}  // namespace atl
