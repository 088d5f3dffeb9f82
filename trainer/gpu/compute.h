// Where a rank computes, and what carries its sums: the choice made by all ranks, and carried out.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "comms/collectives/communicator.h"
#include "comms/collectives/nccl/load.h"
#include "recipes/schema/recipe.h"
#include "trainer/gpu/torch_cuda.h"

namespace atl::trainer {

struct Compute {
  std::unique_ptr<Communicator> nccl = {};  // null where MPI was chosen
  Communicator* communicator = nullptr;     // nccl, or the world
  at::Device device = at::kCPU;             // of this rank
  // For people: "nccl 2.28.9, 2 ranks, NVIDIA H200 (each rank has a GPU of its own)".
  std::string line = {};
};

// What the choice stands on; tests bring their own.
struct ComputeParts {
  std::function<absl::StatusOr<GpuLibrary>()> load_gpu = [] { return LoadGpu(); };
  std::function<std::string()> load_torch = LoadTorchCuda;  // empty, or what is missing
};

// Called by all ranks of `world` with the same `wanted`; the same choice and the same error on
// each. FAILED_PRECONDITION when NCCL is asked for and cannot be; errors of NCCL itself as they
// are. `world` outlives the result.
absl::StatusOr<Compute> SetUpCompute(recipes::Backend wanted, Communicator& world,
                                     const ComputeParts& parts = {});

}  // namespace atl::trainer
