// The launch wrapper: on a GPU the CPU's bytes, without one an error that names the call.
#include "kernels/cuda/launch.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "kernels/pack.h"

namespace atl::kernels::cuda {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Bytes = std::vector<uint8_t>;

bool HasGpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

// A copy of host memory on the device.
class OnDevice {
 public:
  explicit OnDevice(std::span<const uint8_t> bytes) : size_(bytes.size()) {
    EXPECT_EQ(cudaMalloc(&data_, size_), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, bytes.data(), size_, cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  uint8_t* data() { return static_cast<uint8_t*>(data_); }
  Bytes Read() const {  // waits for the default stream
    Bytes out(size_);
    EXPECT_EQ(cudaMemcpy(out.data(), data_, size_, cudaMemcpyDeviceToHost), cudaSuccess);
    return out;
  }

 private:
  void* data_ = nullptr;
  size_t size_;
};

std::vector<MaskKey> Keys() {
  std::vector<MaskKey> keys(3);
  for (size_t k = 0; k < keys.size(); ++k) keys[k].key.fill(static_cast<uint8_t>(k + 1));
  keys[1].subtract = true;
  return keys;
}

constexpr uint64_t kElements = 1'000'003;

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

TEST(Launch, MasksAsTheCpu) {
  if (!HasGpu()) GTEST_SKIP() << "no GPU on this machine";
  for (const MaskCipher cipher : {MaskCipher::kAes256Ctr, MaskCipher::kChaCha20}) {
    for (const uint32_t lane_bytes : {1, 2, 4, 8}) {
      Bytes lanes(kElements * lane_bytes, 0x5a);
      OnDevice device(lanes);
      kernels::AddMasks(lanes, lane_bytes, 77, Keys(), cipher);
      EXPECT_EQ(AddMasks({device.data(), kElements, lane_bytes}, 77, Keys(), cipher, nullptr), "");
      EXPECT_TRUE(device.Read() == lanes) << "lanes of " << lane_bytes;
    }
  }
}

TEST(Launch, RoundsAndPacksAsTheCpu) {
  if (!HasGpu()) GTEST_SKIP() << "no GPU on this machine";
  std::vector<float> values(kElements), origin(kElements, 0.25f);
  for (uint64_t i = 0; i < kElements; ++i) values[i] = static_cast<float>(i % 1000) * 1e-3f;
  const QuantizeOptions options{.factor = 70'000, .bound = 40'000, .first_element = 5};
  Bytes lanes(kElements * 4), packed((kElements * 19 + 7) / 8);
  const uint64_t saturated = kernels::QuantizeStochastic(values, origin, options, lanes);
  kernels::PackLanes(lanes, 4, 19, kElements, packed);

  const auto bytes = [](const std::vector<float>& v) {
    return std::span(reinterpret_cast<const uint8_t*>(v.data()), v.size() * sizeof(float));
  };
  OnDevice device_values(bytes(values)), device_origin(bytes(origin));
  OnDevice device_lanes(Bytes(lanes.size())), device_packed(Bytes(packed.size()));
  OnDevice device_saturated(Bytes(sizeof(unsigned long long)));
  const DeviceLanes on_device{device_lanes.data(), kElements, 4};
  EXPECT_EQ(
      QuantizeStochastic({reinterpret_cast<const float*>(device_values.data()),
                          reinterpret_cast<const float*>(device_origin.data())},
                         options, on_device,
                         reinterpret_cast<unsigned long long*>(device_saturated.data()), nullptr),
      "");
  EXPECT_TRUE(device_lanes.Read() == lanes);
  const Bytes count = device_saturated.Read();
  EXPECT_EQ(std::memcmp(count.data(), &saturated, sizeof(saturated)), 0);
  EXPECT_EQ(PackLanes(on_device, 19, device_packed.data(), nullptr), "");
  EXPECT_TRUE(device_packed.Read() == packed);
  EXPECT_EQ(AddPacked(device_packed.data(), 19, on_device, nullptr), "");
  kernels::AddPacked(packed, 4, 19, kElements, lanes);
  EXPECT_TRUE(device_lanes.Read() == lanes);
}

}  // namespace
}  // namespace atl::kernels::cuda
