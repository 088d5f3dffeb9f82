#include "kernels/quantize.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "kernels/cpu/aes256.h"
#include "kernels/cpu/quantize_kernels.h"
#include "kernels/masks.h"

namespace atl::kernels {
namespace {

constexpr uint64_t kBatch = 4096;  // elements whose rounding bits are drawn at once: 16 KiB
// Loops of this constant length over arrays of their own are ones that compilers turn into vectors.
constexpr uint64_t kVector = 16;

const cpu::QuantizeKernel& FirstSupported() {
  for (const cpu::QuantizeKernel& kernel : cpu::QuantizeKernels()) {
    if (kernel.supported()) return kernel;
  }
  __builtin_unreachable();  // the last one runs everywhere
}

const cpu::QuantizeKernel& BestKernel() {
  static const cpu::QuantizeKernel& best = FirstSupported();
  return best;
}

void CheckLane(uint32_t lane_bytes) {
  assert(lane_bytes == 1 || lane_bytes == 2 || lane_bytes == 4 || lane_bytes == 8);
}

int64_t SignExtend(uint64_t value, uint32_t bits) {
  const uint32_t unused = 64 - bits;
  return static_cast<int64_t>(value << unused) >> unused;
}

// kVector integers of sum_bits bits in lanes of type Lane, through the narrowest type that converts
// fast to double.
template <typename Lane>
inline void DequantizeVector(const Lane (&in)[kVector], uint32_t sum_bits, double inverse_scale,
                             float (&out)[kVector]) {
  using Integer = std::conditional_t<sizeof(Lane) == 8, int64_t, int32_t>;
  const uint32_t unused = 8 * sizeof(Integer) - sum_bits;
  for (uint64_t i = 0; i < kVector; ++i) {
    const auto bits = static_cast<std::make_unsigned_t<Integer>>(in[i]) << unused;
    const Integer integer = static_cast<Integer>(bits) >> unused;
    out[i] = static_cast<float>(static_cast<double>(integer) * inverse_scale);
  }
}

template <typename Lane>
void DequantizeLanes(const uint8_t* lanes, uint32_t sum_bits, double inverse_scale,
                     std::span<float> out) {
  Lane in[kVector] = {};
  float floats[kVector];
  uint64_t done = 0;
  for (; done + kVector <= out.size(); done += kVector) {
    std::memcpy(in, lanes + done * sizeof(Lane), sizeof(in));
    DequantizeVector(in, sum_bits, inverse_scale, floats);
    std::memcpy(out.data() + done, floats, sizeof(floats));
  }
  const uint64_t left = out.size() - done;
  if (left == 0) return;
  std::memcpy(in, lanes + done * sizeof(Lane), left * sizeof(Lane));
  DequantizeVector(in, sum_bits, inverse_scale, floats);
  std::memcpy(out.data() + done, floats, left * sizeof(float));
}

}  // namespace

double SquaredDistance(std::span<const float> a, std::span<const float> b) {
  assert(a.size() == b.size());
  return BestKernel().squared_distance(a.data(), b.data(), a.size());
}

double ClipFactor(double squared_norm, double clip_norm_l2) {
  const double norm = std::sqrt(squared_norm);
  if (norm <= clip_norm_l2) return 1.0;
  // An infinite norm gives 0 as it is; one that is not a number would let values through that
  // nothing bounds.
  return std::isnan(norm) ? 0.0 : clip_norm_l2 / norm;
}

uint64_t QuantizeStochastic(std::span<const float> values, std::span<const float> origin,
                            const QuantizeOptions& options, std::span<uint8_t> lanes) {
  const cpu::QuantizeKernel& kernel = BestKernel();
  CheckLane(options.lane_bytes);
  assert(origin.size() == values.size() && lanes.size() >= values.size() * options.lane_bytes);
  const MaskKey key{.key = options.rounding_key};
  uint32_t random[kBatch];
  uint64_t saturated = 0;
  for (uint64_t done = 0; done < values.size(); done += kBatch) {
    const uint64_t count = std::min<uint64_t>(values.size() - done, kBatch);
    // The stream added to zeros is the stream.
    std::memset(random, 0, count * sizeof(uint32_t));
    AddMasks({reinterpret_cast<uint8_t*>(random), count * sizeof(uint32_t)}, sizeof(uint32_t),
             options.first_element + done, {&key, 1});
    saturated += kernel.quantize({.values = values.data() + done,
                                  .origin = origin.data() + done,
                                  .random = random,
                                  .count = count,
                                  .factor = options.factor,
                                  .bound = options.bound,
                                  .lane_bytes = options.lane_bytes,
                                  .lanes = lanes.data() + done * options.lane_bytes});
  }
  cpu::WipeBytes(random, sizeof(random));
  return saturated;
}

void Dequantize(std::span<const uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
                double inverse_scale, std::span<float> out) {
  CheckLane(lane_bytes);
  assert(sum_bits >= 1 && sum_bits <= 8 * lane_bytes && lanes.size() >= out.size() * lane_bytes);
  switch (lane_bytes) {
    case 1:
      return DequantizeLanes<uint8_t>(lanes.data(), sum_bits, inverse_scale, out);
    case 2:
      return DequantizeLanes<uint16_t>(lanes.data(), sum_bits, inverse_scale, out);
    case 4:
      return DequantizeLanes<uint32_t>(lanes.data(), sum_bits, inverse_scale, out);
    default:
      return DequantizeLanes<uint64_t>(lanes.data(), sum_bits, inverse_scale, out);
  }
}

int64_t SignedLane(std::span<const uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
                   uint64_t index) {
  CheckLane(lane_bytes);
  assert(sum_bits >= 1 && sum_bits <= 8 * lane_bytes && index < lanes.size() / lane_bytes);
  uint64_t value = 0;
  std::memcpy(&value, lanes.data() + index * lane_bytes, lane_bytes);
  return SignExtend(value, sum_bits);
}

void StoreLane(std::span<uint8_t> lanes, uint32_t lane_bytes, uint64_t index, int64_t value) {
  CheckLane(lane_bytes);
  assert(index < lanes.size() / lane_bytes);
  std::memcpy(lanes.data() + index * lane_bytes, &value, lane_bytes);
}

}  // namespace atl::kernels
