// libatoll_gpu.so, loaded at run time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/collectives/nccl/gpu_api.h"

namespace atl {

struct LoadGpuOptions {
  std::string folder = {};  // of libatoll_gpu.so; empty: this program's
  std::string driver = "libcuda.so.1";
};

struct GpuLibrary {
  const AtollGpuApi* api = nullptr;  // as long as the process
  // The GPUs that this process sees, 1 to 64 of them; GPU i is CUDA's device i. Each as a number
  // below 2^48 that is the same in every process and differs from all other GPUs'.
  std::vector<uint64_t> gpus = {};
};

// Loads the library where an NVIDIA driver is, and leaves it loaded. Else FAILED_PRECONDITION with
// what is missing, in words for people: no driver, no library beside the program, one that does not
// load or has another interface, no GPU.
absl::StatusOr<GpuLibrary> LoadGpu(const LoadGpuOptions& options = {});

}  // namespace atl
