#include "kernels/cuda/launch.h"

#include <cuda_runtime.h>

#include <cassert>

namespace atl::kernels::cuda {
namespace {

__device__ uint64_t Thread() { return uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ uint64_t Threads() { return uint64_t{gridDim.x} * blockDim.x; }

template <typename Cipher>
__global__ void AddMasksKernel(MaskTask<Cipher> task) {
  AddMasksThread(task, Thread(), Threads());
}

__global__ void QuantizeKernel(QuantizeTask task, unsigned long long* saturated) {
  const uint64_t mine = QuantizeThread(task, Thread(), Threads());
  if (mine != 0) atomicAdd(saturated, static_cast<unsigned long long>(mine));
}

__global__ void PackKernel(PackTask task) { PackThread(task, Thread(), Threads()); }

__global__ void AddPackedKernel(PackTask task) { AddPackedThread(task, Thread(), Threads()); }

std::string Describe(const char* call, cudaError_t error) {
  if (error == cudaSuccess) return "";
  return std::string(call) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error);
}

// Keys in device memory, in the order of a stream: zeroed and given back behind the work that was
// queued in between.
template <typename Cipher>
class DeviceKeys {
 public:
  DeviceKeys(std::span<const MaskKey> keys, cudaStream_t stream) : stream_(stream) {
    const HostKeys<Cipher> host(keys);
    bytes_ = host.bytes();
    problem_ = Describe("cudaMallocAsync of keys", cudaMallocAsync(&data_, bytes_, stream_));
    if (!problem_.empty()) return;
    // From pageable memory: the call returns when the host's copy is no longer needed.
    problem_ = Describe("cudaMemcpyAsync of keys",
                        cudaMemcpyAsync(data_, host.data(), bytes_, cudaMemcpyDefault, stream_));
  }
  ~DeviceKeys() {
    if (data_ == nullptr) return;
    // A device that cannot do these has lost its memory's contents or will show the error anyway.
    (void)cudaMemsetAsync(data_, 0, bytes_, stream_);
    (void)cudaFreeAsync(data_, stream_);
  }
  DeviceKeys(const DeviceKeys&) = delete;
  DeviceKeys& operator=(const DeviceKeys&) = delete;
  const std::string& problem() const { return problem_; }
  const typename Cipher::Key* data() const {
    return static_cast<const typename Cipher::Key*>(data_);
  }

 private:
  cudaStream_t stream_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  std::string problem_;
};

template <typename Cipher>
std::string AddMasksOf(const DeviceLanes& lanes, uint64_t first_element,
                       std::span<const MaskKey> keys, cudaStream_t stream) {
  const DeviceKeys<Cipher> device(keys, stream);
  if (!device.problem().empty()) return device.problem();
  const MaskTask<Cipher> task =
      MakeMaskTask<Cipher>(lanes, first_element, device.data(), static_cast<uint32_t>(keys.size()));
  const Grid grid = GridFor(task.range.units());
  AddMasksKernel<<<grid.blocks, grid.threads, 0, stream>>>(task);
  return Describe("launch of AddMasksKernel", cudaGetLastError());
}

PackTask MakePackTask(const DeviceLanes& lanes, uint32_t sum_bits, uint8_t* packed) {
  assert(sum_bits >= 1 && sum_bits <= 8 * lanes.lane_bytes);
  return {lanes.data, packed, lanes.elements, lanes.lane_bytes, sum_bits};
}

}  // namespace

std::string AddMasks(const DeviceLanes& lanes, uint64_t first_element,
                     std::span<const MaskKey> keys, MaskCipher cipher, void* stream) {
  if (lanes.elements == 0 || keys.empty()) return "";
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  return cipher == MaskCipher::kChaCha20 ? AddMasksOf<ChaCha20>(lanes, first_element, keys, queue)
                                         : AddMasksOf<Aes256Ctr>(lanes, first_element, keys, queue);
}

std::string QuantizeStochastic(const DeviceUpdate& update, const QuantizeOptions& options,
                               const DeviceLanes& lanes, unsigned long long* saturated,
                               void* stream) {
  if (lanes.elements == 0) return "";
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  const MaskKey key{options.rounding_key};
  const DeviceKeys<Aes256Ctr> device({&key, 1}, queue);
  if (!device.problem().empty()) return device.problem();
  const QuantizeTask task = MakeQuantizeTask(update, options, device.data(), lanes);
  const Grid grid = GridFor(task.range.units());
  QuantizeKernel<<<grid.blocks, grid.threads, 0, queue>>>(task, saturated);
  return Describe("launch of QuantizeKernel", cudaGetLastError());
}

std::string PackLanes(const DeviceLanes& lanes, uint32_t sum_bits, uint8_t* packed, void* stream) {
  if (lanes.elements == 0) return "";
  const PackTask task = MakePackTask(lanes, sum_bits, packed);
  const Grid grid = GridFor(task.packed_words());
  PackKernel<<<grid.blocks, grid.threads, 0, static_cast<cudaStream_t>(stream)>>>(task);
  return Describe("launch of PackKernel", cudaGetLastError());
}

std::string AddPacked(const uint8_t* packed, uint32_t sum_bits, const DeviceLanes& lanes,
                      void* stream) {
  if (lanes.elements == 0) return "";
  // Only read: PackTask serves both directions.
  const PackTask task = MakePackTask(lanes, sum_bits, const_cast<uint8_t*>(packed));
  const Grid grid = GridFor(task.elements);
  AddPackedKernel<<<grid.blocks, grid.threads, 0, static_cast<cudaStream_t>(stream)>>>(task);
  return Describe("launch of AddPackedKernel", cudaGetLastError());
}

}  // namespace atl::kernels::cuda
