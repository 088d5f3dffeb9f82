// What carries a site's gradients and where its ranks compute: chosen from what all ranks have
// found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"

namespace atl::trainer {

// For each rank which of the GPUs that it sees is its own, and no other rank's; -1 where none is
// left. visible[r]: rank r's GPUs by their numbers (GpuLibrary::gpus), in its order; ranks of one
// machine may see the same ones, some of them, or one each (Slurm). Ranks choose in their order.
// Pure.
std::vector<int> AssignGpus(const std::vector<std::vector<uint64_t>>& visible);

// The same on every rank.
struct GpuFindings {
  absl::Status usable = {};  // OK; or why a rank cannot compute on a GPU
  // The first rank that is left without a GPU of its own, and how many it sees; -1: there is none.
  int rank_without = -1;
  uint32_t gpus_seen = 0;
};

struct BackendChoice {
  recipes::Backend backend = recipes::Backend::kMpi;  // kMpi or kNccl
  std::string reason;                                 // for people
};

// kAuto: NCCL where every rank has a GPU of its own, else MPI. kNccl: FAILED_PRECONDITION where
// that is not so, with what is missing. Pure.
absl::StatusOr<BackendChoice> ChooseBackend(recipes::Backend wanted, const GpuFindings& found);

}  // namespace atl::trainer
