// libatoll_gpu.so: the table of gpu_api.h over CUDA's runtime, NCCL and kernels/cuda.
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <string.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "comms/collectives/nccl/gpu_api.h"
#include "comms/collectives/nccl/gpu_status.h"
#include "kernels/cuda/launch.h"

namespace {

namespace cuda = atl::kernels::cuda;

static_assert(atl::kCudaSuccess == cudaSuccess);
static_assert(atl::kCudaErrorInvalidValue == cudaErrorInvalidValue);
static_assert(atl::kCudaErrorMemoryAllocation == cudaErrorMemoryAllocation);
static_assert(atl::kCudaErrorInitialization == cudaErrorInitializationError);
static_assert(atl::kCudaErrorInsufficientDriver == cudaErrorInsufficientDriver);
static_assert(atl::kCudaErrorDevicesUnavailable == cudaErrorDevicesUnavailable);
static_assert(atl::kCudaErrorNoDevice == cudaErrorNoDevice);
static_assert(atl::kCudaErrorInvalidDevice == cudaErrorInvalidDevice);
static_assert(atl::kCudaErrorInvalidResourceHandle == cudaErrorInvalidResourceHandle);
static_assert(atl::kCudaErrorNotReady == cudaErrorNotReady);
static_assert(atl::kCudaErrorIllegalAddress == cudaErrorIllegalAddress);
static_assert(atl::kCudaErrorSystemNotReady == cudaErrorSystemNotReady);
static_assert(atl::kCudaErrorSystemDriverMismatch == cudaErrorSystemDriverMismatch);
static_assert(atl::kNcclSuccess == ncclSuccess);
static_assert(atl::kNcclUnhandledCudaError == ncclUnhandledCudaError);
static_assert(atl::kNcclSystemError == ncclSystemError);
static_assert(atl::kNcclInternalError == ncclInternalError);
static_assert(atl::kNcclInvalidArgument == ncclInvalidArgument);
static_assert(atl::kNcclInvalidUsage == ncclInvalidUsage);
static_assert(atl::kNcclRemoteError == ncclRemoteError);
static_assert(atl::kNcclInProgress == ncclInProgress);
static_assert(ATOLL_NCCL_ID_BYTES == NCCL_UNIQUE_ID_BYTES);

cudaStream_t Stream(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t Event(void* event) { return static_cast<cudaEvent_t>(event); }
ncclComm_t Comm(void* comm) { return static_cast<ncclComm_t>(comm); }

int DeviceName(int device, char* name, size_t name_bytes) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error == cudaSuccess) snprintf(name, name_bytes, "%s", properties.name);
  return error;
}

int DeviceUuid(int device, uint8_t uuid[16]) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  static_assert(sizeof properties.uuid.bytes == 16);
  if (error == cudaSuccess) memcpy(uuid, properties.uuid.bytes, 16);
  return error;
}

int Zero(void* data, size_t bytes) {
  const cudaError_t error = cudaMemset(data, 0, bytes);
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

int Copy(void* to, const void* from, size_t bytes) {
  const cudaError_t error = cudaMemcpy(to, from, bytes, cudaMemcpyDefault);
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

int StreamCreate(void** stream) {
  int lowest = 0, highest = 0;
  const cudaError_t error = cudaDeviceGetStreamPriorityRange(&lowest, &highest);
  if (error != cudaSuccess) return error;
  cudaStream_t made = nullptr;
  const cudaError_t result = cudaStreamCreateWithPriority(&made, cudaStreamNonBlocking, highest);
  *stream = made;
  return result;
}

int EventCreate(void** event) {
  cudaEvent_t made = nullptr;
  const cudaError_t error = cudaEventCreateWithFlags(&made, cudaEventDisableTiming);
  *event = made;
  return error;
}

int UniqueId(uint8_t id[ATOLL_NCCL_ID_BYTES]) {
  ncclUniqueId made;
  const ncclResult_t result = ncclGetUniqueId(&made);
  if (result == ncclSuccess) memcpy(id, made.internal, sizeof made.internal);
  return result;
}

int CommInit(void** comm, int ranks, const uint8_t id[ATOLL_NCCL_ID_BYTES], int rank) {
  ncclUniqueId given;
  memcpy(given.internal, id, sizeof given.internal);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t made = nullptr;
  const ncclResult_t result = ncclCommInitRankConfig(&made, ranks, given, rank, &config);
  *comm = made;
  return result;
}

int CommAsyncError(void* comm, int* state) {
  ncclResult_t now = ncclSuccess;
  const ncclResult_t result = ncclCommGetAsyncError(Comm(comm), &now);
  *state = now;
  return result;
}

// What a launch wrapper says, as the table's functions do.
int Report(const std::string& problem, char* text, size_t text_bytes) {
  if (problem.empty()) return 0;
  snprintf(text, text_bytes, "%s", problem.c_str());
  return 1;
}

int AddMasks(uint8_t* lanes, uint64_t elements, uint32_t lane_bytes, uint64_t first_element,
             const AtollGpuMaskKey* keys, uint32_t key_count, int cipher, void* stream,
             char* problem, size_t problem_bytes) {
  std::vector<atl::kernels::MaskKey> host(key_count);
  for (uint32_t k = 0; k < key_count; ++k) {
    std::copy(std::begin(keys[k].key), std::end(keys[k].key), host[k].key.begin());
    host[k].subtract = keys[k].subtract != 0;
  }
  const std::string said = cuda::AddMasks({lanes, elements, lane_bytes}, first_element, host,
                                          static_cast<atl::kernels::MaskCipher>(cipher), stream);
  explicit_bzero(host.data(), host.size() * sizeof host[0]);
  return Report(said, problem, problem_bytes);
}

int Quantize(const float* values, const float* origin, uint64_t elements, double factor,
             int64_t bound, const uint8_t rounding_key[32], uint64_t first_element, uint8_t* lanes,
             uint32_t lane_bytes, unsigned long long* saturated, void* stream, char* problem,
             size_t problem_bytes) {
  atl::kernels::QuantizeOptions options{
      .factor = factor, .bound = bound, .lane_bytes = lane_bytes, .first_element = first_element};
  std::copy(rounding_key, rounding_key + options.rounding_key.size(), options.rounding_key.begin());
  const std::string said = cuda::QuantizeStochastic(
      {values, origin}, options, {lanes, elements, lane_bytes}, saturated, stream);
  explicit_bzero(options.rounding_key.data(), options.rounding_key.size());
  return Report(said, problem, problem_bytes);
}

int PackLanes(const uint8_t* lanes, uint64_t elements, uint32_t lane_bytes, uint32_t sum_bits,
              uint8_t* packed, void* stream, char* problem, size_t problem_bytes) {
  // Only read: DeviceLanes serves both directions.
  const cuda::DeviceLanes from{const_cast<uint8_t*>(lanes), elements, lane_bytes};
  return Report(cuda::PackLanes(from, sum_bits, packed, stream), problem, problem_bytes);
}

int AddPacked(const uint8_t* packed, uint32_t sum_bits, uint8_t* lanes, uint64_t elements,
              uint32_t lane_bytes, void* stream, char* problem, size_t problem_bytes) {
  return Report(cuda::AddPacked(packed, sum_bits, {lanes, elements, lane_bytes}, stream), problem,
                problem_bytes);
}

constexpr AtollGpuApi kApi = {
    .version = ATOLL_GPU_API_VERSION,
    .device_count = [](int* count) -> int { return cudaGetDeviceCount(count); },
    .set_device = [](int device) -> int { return cudaSetDevice(device); },
    .device_name = DeviceName,
    .device_uuid = DeviceUuid,
    .allocate = [](void** data, size_t bytes) -> int { return cudaMalloc(data, bytes); },
    .release = [](void* data) -> int { return cudaFree(data); },
    .zero = Zero,
    .copy = Copy,
    .copy_on_device = [](void* to, const void* from, size_t bytes) -> int {
      return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, nullptr);
    },
    .stream_create = StreamCreate,
    .stream_destroy = [](void* stream) -> int { return cudaStreamDestroy(Stream(stream)); },
    .stream_wait_event = [](void* stream, void* event) -> int {
      return cudaStreamWaitEvent(Stream(stream), Event(event), 0);
    },
    .event_create = EventCreate,
    .event_destroy = [](void* event) -> int { return cudaEventDestroy(Event(event)); },
    .event_record = [](void* event, void* stream) -> int {
      return cudaEventRecord(Event(event), Stream(stream));
    },
    .event_query = [](void* event) -> int { return cudaEventQuery(Event(event)); },
    .cuda_error_name = [](int error) { return cudaGetErrorName(static_cast<cudaError_t>(error)); },
    .cuda_error_text =
        [](int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); },
    .nccl_version = [](int* version) -> int { return ncclGetVersion(version); },
    .unique_id = UniqueId,
    .comm_init = CommInit,
    .comm_async_error = CommAsyncError,
    .comm_finalize = [](void* comm) -> int { return ncclCommFinalize(Comm(comm)); },
    .comm_destroy = [](void* comm) -> int { return ncclCommDestroy(Comm(comm)); },
    .comm_abort = [](void* comm) -> int { return ncclCommAbort(Comm(comm)); },
    .group_start = []() -> int { return ncclGroupStart(); },
    .group_end = []() -> int { return ncclGroupEnd(); },
    .all_reduce_sum = [](float* values, size_t count, void* comm, void* stream) -> int {
      return ncclAllReduce(values, values, count, ncclFloat, ncclSum, Comm(comm), Stream(stream));
    },
    .reduce_sum = [](float* values, size_t count, int root, void* comm, void* stream) -> int {
      return ncclReduce(values, values, count, ncclFloat, ncclSum, root, Comm(comm),
                        Stream(stream));
    },
    .broadcast = [](float* values, size_t count, int root, void* comm, void* stream) -> int {
      return ncclBroadcast(values, values, count, ncclFloat, root, Comm(comm), Stream(stream));
    },
    .reduce_scatter_sum = [](const float* values, float* part, size_t part_count, void* comm,
                             void* stream) -> int {
      return ncclReduceScatter(values, part, part_count, ncclFloat, ncclSum, Comm(comm),
                               Stream(stream));
    },
    .all_gather = [](const float* part, float* values, size_t part_count, void* comm,
                     void* stream) -> int {
      return ncclAllGather(part, values, part_count, ncclFloat, Comm(comm), Stream(stream));
    },
    .nccl_error_text =
        [](int result) { return ncclGetErrorString(static_cast<ncclResult_t>(result)); },
    .nccl_last_error = [](void* comm) { return ncclGetLastError(Comm(comm)); },
    .add_masks = AddMasks,
    .quantize = Quantize,
    .pack_lanes = PackLanes,
    .add_packed = AddPacked,
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const AtollGpuApi* atoll_gpu_api(uint32_t version,
                                                                                   uint32_t* has) {
  *has = ATOLL_GPU_API_VERSION;
  return version == ATOLL_GPU_API_VERSION ? &kApi : nullptr;
}
