// CUDA's and NCCL's codes as errors; the one place that knows them.
//
// Nothing but the standard library, so that what talks to a GPU is built and tested on machines
// that have a CUDA toolkit and little else. NcclCommunicator hands these on as absl::Status.
#pragma once

#include <string>
#include <string_view>

#include "comms/collectives/nccl/gpu_api.h"

namespace atl {

// Of the same numbers as absl::StatusCode.
enum class GpuCode {
  kOk = 0,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kInternal = 13,
  kUnavailable = 14,
};

struct [[nodiscard]] GpuStatus {
  GpuCode code = GpuCode::kOk;
  std::string message;
  bool ok() const { return code == GpuCode::kOk; }
};

// Values of cudaError_t and ncclResult_t; gpu_library.cc holds them against CUDA's headers.
inline constexpr int kCudaSuccess = 0, kCudaErrorInvalidValue = 1, kCudaErrorMemoryAllocation = 2,
                     kCudaErrorInitialization = 3, kCudaErrorInsufficientDriver = 35,
                     kCudaErrorDevicesUnavailable = 46, kCudaErrorNoDevice = 100,
                     kCudaErrorInvalidDevice = 101, kCudaErrorInvalidResourceHandle = 400,
                     kCudaErrorNotReady = 600, kCudaErrorIllegalAddress = 700,
                     kCudaErrorSystemNotReady = 802, kCudaErrorSystemDriverMismatch = 803;
inline constexpr int kNcclSuccess = 0, kNcclUnhandledCudaError = 1, kNcclSystemError = 2,
                     kNcclInternalError = 3, kNcclInvalidArgument = 4, kNcclInvalidUsage = 5,
                     kNcclRemoteError = 6, kNcclInProgress = 7;

// OK for cudaSuccess; else RESOURCE_EXHAUSTED without memory, INVALID_ARGUMENT for a wrong call,
// FAILED_PRECONDITION without a usable driver or GPU, UNAVAILABLE for a GPU that others hold,
// INTERNAL for the rest: "cudaMalloc: cudaErrorMemoryAllocation: out of memory".
GpuStatus CudaStatus(const AtollGpuApi& api, int error, std::string_view call);

// OK for ncclSuccess; else UNAVAILABLE when a peer or the way to it is gone, INVALID_ARGUMENT for a
// wrong call, INTERNAL for the rest, with NCCL's own details where it has any.
GpuStatus NcclStatus(const AtollGpuApi& api, int result, std::string_view call, void* comm);

}  // namespace atl
