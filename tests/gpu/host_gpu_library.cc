// A libatoll_gpu.so whose three GPUs are this machine's memory and CPU: the programs for GPUs run
// over it where no GPU is, so that they themselves are tested before they are needed.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/masks.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "tests/collectives/nccl/fake_gpu.h"

namespace {

using atl::testing::FakeGpu;

constexpr int kGpus = 3;

int AddMasks(uint8_t* lanes, uint64_t elements, uint32_t lane_bytes, uint64_t first_element,
             const AtollGpuMaskKey* keys, uint32_t key_count, int cipher, void*, char*, size_t) {
  std::vector<atl::kernels::MaskKey> host(key_count);
  for (uint32_t k = 0; k < key_count; ++k) {
    std::copy(std::begin(keys[k].key), std::end(keys[k].key), host[k].key.begin());
    host[k].subtract = keys[k].subtract != 0;
  }
  atl::kernels::AddMasks({lanes, elements * lane_bytes}, lane_bytes, first_element, host,
                         static_cast<atl::kernels::MaskCipher>(cipher));
  return 0;
}

int Quantize(const float* values, const float* origin, uint64_t elements, double factor,
             int64_t bound, const uint8_t rounding_key[32], uint64_t first_element, uint8_t* lanes,
             uint32_t lane_bytes, unsigned long long* saturated, void*, char*, size_t) {
  atl::kernels::QuantizeOptions options{
      .factor = factor, .bound = bound, .lane_bytes = lane_bytes, .first_element = first_element};
  std::copy(rounding_key, rounding_key + 32, options.rounding_key.begin());
  const std::vector<float> copy(values, values + elements);  // lanes may lie where values do
  *saturated += atl::kernels::QuantizeStochastic(copy, {origin, elements}, options,
                                                 {lanes, elements * lane_bytes});
  return 0;
}

int PackLanes(const uint8_t* lanes, uint64_t elements, uint32_t lane_bytes, uint32_t sum_bits,
              uint8_t* packed, void*, char*, size_t) {
  atl::kernels::PackLanes({lanes, elements * lane_bytes}, lane_bytes, sum_bits, elements,
                          {packed, (elements * sum_bits + 7) / 8});
  return 0;
}

int AddPacked(const uint8_t* packed, uint32_t sum_bits, uint8_t* lanes, uint64_t elements,
              uint32_t lane_bytes, void*, char*, size_t) {
  atl::kernels::AddPacked({packed, (elements * sum_bits + 7) / 8}, lane_bytes, sum_bits, elements,
                          {lanes, elements * lane_bytes});
  return 0;
}

AtollGpuApi Table() {
  FakeGpu::OneForEachThread();
  AtollGpuApi api = FakeGpu::Api();
  api.device_count = [](int* count) {
    *count = kGpus;
    return atl::kCudaSuccess;
  };
  api.set_device = [](int device) {
    return device < kGpus ? atl::kCudaSuccess : atl::kCudaErrorInvalidDevice;
  };
  api.cuda_error_name = [](int error) {
    return error == atl::kCudaErrorInvalidDevice ? "cudaErrorInvalidDevice" : "another error";
  };
  api.add_masks = AddMasks;
  api.quantize = Quantize;
  api.pack_lanes = PackLanes;
  api.add_packed = AddPacked;
  return api;
}

}  // namespace

extern "C" const AtollGpuApi* atoll_gpu_api(uint32_t version, uint32_t* has) {
  static const AtollGpuApi api = Table();
  *has = ATOLL_GPU_API_VERSION;
  return version == ATOLL_GPU_API_VERSION ? &api : nullptr;
}
