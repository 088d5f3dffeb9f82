#include "trainer/gpu/compute.h"

#include <algorithm>
#include <vector>

#include "comms/base/status.h"
#include "comms/collectives/nccl/nccl_communicator.h"
#include "trainer/gpu/backend.h"
#include "trainer/parallel/agree.h"

namespace atl::trainer {
namespace {

absl::StatusOr<GpuLibrary> LoadAll(const ComputeParts& parts) {
  ATOLL_ASSIGN_OR_RETURN(GpuLibrary library, parts.load_gpu());
  if (const std::string missing = parts.load_torch(); !missing.empty()) {
    return absl::FailedPreconditionError(missing);
  }
  return library;
}

// The GPUs that each rank sees. Called by all ranks.
absl::StatusOr<std::vector<std::vector<uint64_t>>> GpusOfAll(Communicator& world,
                                                             const std::vector<uint64_t>& mine) {
  // Numbers below 2^48 that one rank alone writes: sums of doubles are exact. 0: no GPU.
  constexpr size_t kMax = 64;
  std::vector<double> all(kMax * world.size(), 0.0);
  for (size_t i = 0; i < std::min(kMax, mine.size()); ++i) {
    all[kMax * world.rank() + i] = static_cast<double>(mine[i]) + 1;
  }
  ATOLL_RETURN_IF_ERROR(world.AllReduceSum(all));
  std::vector<std::vector<uint64_t>> gpus(world.size());
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i] > 0) gpus[i / kMax].push_back(static_cast<uint64_t>(all[i]) - 1);
  }
  return gpus;
}

}  // namespace

absl::StatusOr<Compute> SetUpCompute(recipes::Backend wanted, Communicator& world,
                                     const ComputeParts& parts) {
  GpuFindings found;
  GpuLibrary library;
  int own = -1;
  if (wanted != recipes::Backend::kMpi) {
    auto loaded = LoadAll(parts);
    found.usable = Agree(world, loaded.status());
    if (!found.usable.ok() && !IsAgreed(found.usable)) return found.usable;
    if (found.usable.ok()) {
      library = *std::move(loaded);
      ATOLL_ASSIGN_OR_RETURN(const auto visible, GpusOfAll(world, library.gpus));
      const std::vector<int> assigned = AssignGpus(visible);
      own = assigned[world.rank()];
      const auto without = std::find(assigned.begin(), assigned.end(), -1);
      if (without != assigned.end()) {
        found.rank_without = static_cast<int>(without - assigned.begin());
        found.gpus_seen = static_cast<uint32_t>(visible[found.rank_without].size());
      }
    }
  }
  auto choice = ChooseBackend(wanted, found);
  if (!choice.ok()) return Alike(choice.status());
  Compute compute{.communicator = &world};
  if (choice->backend == recipes::Backend::kNccl) {
    auto nccl = CreateNcclCommunicator(*library.api, world, {.device = own});
    ATOLL_RETURN_IF_ERROR(Agree(world, nccl.status()));
    compute.nccl = *std::move(nccl);
    compute.communicator = compute.nccl.get();
    compute.device = at::Device(at::kCUDA, static_cast<at::DeviceIndex>(own));
  }
  compute.line = absl::StrCat(compute.communicator->name(), " (", choice->reason, ")");
  return compute;
}

}  // namespace atl::trainer
