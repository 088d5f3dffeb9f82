// kernels/cuda on a GPU, through libatoll_gpu.so: the CPU's bytes.
#include <cstring>

#include "kernels/masks.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "tests/gpu/check.h"

namespace atl::gpu {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kElements = 1'000'003;

std::vector<kernels::MaskKey> Keys() {
  std::vector<kernels::MaskKey> keys(3);
  for (size_t k = 0; k < keys.size(); ++k) keys[k].key.fill(static_cast<uint8_t>(k + 1));
  keys[1].subtract = true;
  return keys;
}

std::vector<AtollGpuMaskKey> ForGpu(const std::vector<kernels::MaskKey>& keys) {
  std::vector<AtollGpuMaskKey> out(keys.size());
  for (size_t k = 0; k < keys.size(); ++k) {
    std::memcpy(out[k].key, keys[k].key.data(), sizeof out[k].key);
    out[k].subtract = keys[k].subtract;
  }
  return out;
}

void MasksAsTheCpu() {
  char problem[256] = "";
  for (const auto cipher : {kernels::MaskCipher::kAes256Ctr, kernels::MaskCipher::kChaCha20}) {
    for (const uint32_t lane_bytes : {1, 2, 4, 8}) {
      Bytes lanes(kElements * lane_bytes, 0x5a);
      DeviceBytes device(lanes.data(), lanes.size());
      kernels::AddMasks(lanes, lane_bytes, 77, Keys(), cipher);
      const auto keys = ForGpu(Keys());
      const int failed =
          Api().add_masks(device.data(), kElements, lane_bytes, 77, keys.data(), 3,
                          static_cast<int>(cipher), nullptr, problem, sizeof problem);
      CHECK_THAT(failed == 0, problem);
      CHECK_THAT(device.Read() == lanes, "lanes of " << lane_bytes);
    }
  }
}

void RoundsAndPacksAsTheCpu() {
  std::vector<float> values(kElements), origin(kElements, 0.25f);
  for (uint64_t i = 0; i < kElements; ++i) values[i] = static_cast<float>(i % 1000) * 1e-3f;
  const kernels::QuantizeOptions options{.factor = 70'000, .bound = 40'000, .first_element = 5};
  Bytes lanes(kElements * 4), packed((kElements * 19 + 7) / 8);
  const unsigned long long saturated = kernels::QuantizeStochastic(values, origin, options, lanes);
  kernels::PackLanes(lanes, 4, 19, kElements, packed);

  DeviceBytes on_values(values.data(), 4 * kElements), on_origin(origin.data(), 4 * kElements);
  DeviceBytes on_lanes(lanes.size()), on_packed(packed.size()), on_count(sizeof saturated);
  char problem[256] = "";
  int failed = Api().quantize(on_values.as<float>(), on_origin.as<float>(), kElements,
                              options.factor, options.bound, options.rounding_key.data(),
                              options.first_element, on_lanes.data(), 4,
                              on_count.as<unsigned long long>(), nullptr, problem, sizeof problem);
  CHECK_THAT(failed == 0, problem);
  CHECK_THAT(on_lanes.Read() == lanes, "rounded lanes");
  CHECK_THAT(saturated > 0, "the test saturates nothing");
  CHECK_THAT(std::memcmp(on_count.Read().data(), &saturated, sizeof saturated) == 0, "saturated");
  failed = Api().pack_lanes(on_lanes.data(), kElements, 4, 19, on_packed.data(), nullptr, problem,
                            sizeof problem);
  CHECK_THAT(failed == 0, problem);
  CHECK_THAT(on_packed.Read() == packed, "packed");
  failed = Api().add_packed(on_packed.data(), 19, on_lanes.data(), kElements, 4, nullptr, problem,
                            sizeof problem);
  CHECK_THAT(failed == 0, problem);
  kernels::AddPacked(packed, 4, 19, kElements, lanes);
  CHECK_THAT(on_lanes.Read() == lanes, "sum of packed");
}

}  // namespace
}  // namespace atl::gpu

int main() {
  (void)atl::gpu::Gpus();
  return atl::gpu::Run({{"Kernels.MasksAsTheCpu", atl::gpu::MasksAsTheCpu},
                        {"Kernels.RoundsAndPacksAsTheCpu", atl::gpu::RoundsAndPacksAsTheCpu}});
}
