#include "comms/collectives/nccl/gpu_status.h"

namespace atl {
namespace {

GpuCode CodeOfCuda(int error) {
  switch (error) {
    case kCudaErrorMemoryAllocation:
      return GpuCode::kResourceExhausted;
    case kCudaErrorInvalidValue:
    case kCudaErrorInvalidDevice:
    case kCudaErrorInvalidResourceHandle:
      return GpuCode::kInvalidArgument;
    case kCudaErrorInitialization:
    case kCudaErrorInsufficientDriver:
    case kCudaErrorNoDevice:
    case kCudaErrorSystemNotReady:
    case kCudaErrorSystemDriverMismatch:
      return GpuCode::kFailedPrecondition;
    case kCudaErrorDevicesUnavailable:
      return GpuCode::kUnavailable;
    default:
      return GpuCode::kInternal;
  }
}

GpuCode CodeOfNccl(int result) {
  switch (result) {
    case kNcclRemoteError:
    case kNcclSystemError:  // sockets and the network
      return GpuCode::kUnavailable;
    case kNcclInvalidArgument:
    case kNcclInvalidUsage:
      return GpuCode::kInvalidArgument;
    default:
      return GpuCode::kInternal;
  }
}

// What a library that is not ours says may be missing.
std::string_view Text(const char* text) { return text == nullptr ? "" : text; }

}  // namespace

GpuStatus CudaStatus(const AtollGpuApi& api, int error, std::string_view call) {
  if (error == kCudaSuccess) return {};
  std::string message(call);
  message.append(": ").append(Text(api.cuda_error_name(error)));
  message.append(": ").append(Text(api.cuda_error_text(error)));
  return {CodeOfCuda(error), message};
}

GpuStatus NcclStatus(const AtollGpuApi& api, int result, std::string_view call, void* comm) {
  if (result == kNcclSuccess) return {};
  std::string message(call);
  message.append(": ").append(Text(api.nccl_error_text(result)));
  const std::string_view details = Text(api.nccl_last_error(comm));
  if (!details.empty()) message.append(" (").append(details).append(")");
  return {CodeOfNccl(result), message};
}

}  // namespace atl
