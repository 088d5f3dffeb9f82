// The launch wrapper where there is no GPU: an error that names the call. For GPUs see tests/gpu.
#include "kernels/cuda/launch.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace atl::kernels::cuda {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Bytes = std::vector<uint8_t>;

bool HasGpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

std::vector<MaskKey> Keys() {
  std::vector<MaskKey> keys(3);
  for (size_t k = 0; k < keys.size(); ++k) keys[k].key.fill(static_cast<uint8_t>(k + 1));
  keys[1].subtract = true;
  return keys;
}

TEST(Launch, WithoutAGpuNamesTheCallThatFailed) {
  if (HasGpu()) GTEST_SKIP() << "this machine has a GPU";
  Bytes lanes(64);
  const DeviceLanes device{.data = lanes.data(), .elements = 16, .lane_bytes = 4};
  for (const MaskCipher cipher : {MaskCipher::kAes256Ctr, MaskCipher::kChaCha20}) {
    const std::string problem = AddMasks(device, 0, Keys(), cipher, nullptr);
    EXPECT_THAT(problem, StartsWith("cudaMallocAsync of keys: cudaError"));
  }
  unsigned long long saturated = 0;
  float value = 1;
  EXPECT_THAT(QuantizeStochastic({&value, &value}, {.bound = 1}, device, &saturated, nullptr),
              StartsWith("cudaMallocAsync of keys: cudaError"));
  EXPECT_THAT(PackLanes(device, 19, lanes.data(), nullptr), HasSubstr("PackKernel: cudaError"));
  EXPECT_THAT(AddPacked(lanes.data(), 19, device, nullptr),
              HasSubstr("AddPackedKernel: cudaError"));
  EXPECT_EQ(lanes, Bytes(64));
}

TEST(Launch, NothingToDoIsNoLaunch) {
  EXPECT_EQ(AddMasks({}, 0, Keys(), MaskCipher::kAes256Ctr, nullptr), "");
  EXPECT_EQ(PackLanes({}, 19, nullptr, nullptr), "");
  EXPECT_EQ(AddPacked(nullptr, 19, {}, nullptr), "");
  EXPECT_EQ(QuantizeStochastic({}, {.bound = 1}, {}, nullptr, nullptr), "");
}

}  // namespace
}  // namespace atl::kernels::cuda
