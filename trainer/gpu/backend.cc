#include "trainer/gpu/backend.h"

#include <set>

#include "comms/base/status.h"

namespace atl::trainer {
namespace {

// Why NCCL cannot be; OK when it can.
absl::Status Hindrance(const GpuFindings& found) {
  if (!found.usable.ok()) return found.usable;
  if (found.rank_without < 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "rank ", found.rank_without, " sees ", found.gpus_seen,
      found.gpus_seen == 1 ? " GPU, which another rank has" : " GPUs, which other ranks have",
      "; NCCL needs one for each rank: start fewer ranks on each machine"));
}

}  // namespace

std::vector<int> AssignGpus(const std::vector<std::vector<uint64_t>>& visible) {
  std::set<uint64_t> taken;
  std::vector<int> own(visible.size(), -1);
  for (size_t rank = 0; rank < visible.size(); ++rank) {
    for (size_t gpu = 0; gpu < visible[rank].size() && own[rank] < 0; ++gpu) {
      if (taken.insert(visible[rank][gpu]).second) own[rank] = static_cast<int>(gpu);
    }
  }
  return own;
}

absl::StatusOr<BackendChoice> ChooseBackend(recipes::Backend wanted, const GpuFindings& found) {
  using recipes::Backend;
  if (wanted == Backend::kMpi) return BackendChoice{Backend::kMpi, "the recipe asks for it"};
  const absl::Status hindrance = Hindrance(found);
  if (hindrance.ok()) {
    return BackendChoice{Backend::kNccl, wanted == Backend::kNccl
                                             ? "the recipe asks for it"
                                             : "each rank has a GPU of its own"};
  }
  if (wanted == Backend::kNccl) {
    return absl::FailedPreconditionError(
        absl::StrCat("site.backend: nccl is not possible here: ", hindrance.message(),
                     " (auto would take mpi)"));
  }
  return BackendChoice{Backend::kMpi, absl::StrCat("on the CPU: ", hindrance.message())};
}

}  // namespace atl::trainer
