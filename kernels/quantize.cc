#include "kernels/quantize.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "kernels/cpu/aes256.h"
#include "kernels/masks.h"

namespace atl::kernels {
namespace {

constexpr uint64_t kBatch = 4096;  // elements whose rounding bits are drawn at once
constexpr double kUnit = 0x1p-32;  // u = 32 random bits times this
constexpr uint64_t kNormLanes = 16;

// The largest double that is at most `bound`.
double FloorToDouble(int64_t bound) {
  const double rounded = static_cast<double>(bound);
  const bool over = rounded >= 0x1p63 || static_cast<int64_t>(rounded) > bound;
  return over ? std::nextafter(rounded, 0.0) : rounded;
}

template <typename Lane>
uint64_t QuantizeBatch(const float* values, uint64_t count, const uint32_t* random, double factor,
                       int64_t bound, uint8_t* lanes) {
  const double most = FloorToDouble(bound);
  uint64_t saturated = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const double q = std::floor(static_cast<double>(values[i]) * factor + random[i] * kUnit);
    int64_t integer = 0;
    if (q >= -most && q <= most) {
      integer = static_cast<int64_t>(q);
    } else {
      ++saturated;
      if (!std::isnan(q)) integer = q > 0 ? bound : -bound;
    }
    const Lane lane = static_cast<Lane>(integer);
    std::memcpy(lanes + i * sizeof(Lane), &lane, sizeof(Lane));
  }
  return saturated;
}

template <typename Lane>
uint64_t QuantizeAll(std::span<const float> values, const QuantizeOptions& options,
                     uint8_t* lanes) {
  const MaskKey key{.key = options.rounding_key};
  uint32_t random[kBatch];
  uint64_t saturated = 0;
  for (uint64_t done = 0; done < values.size(); done += kBatch) {
    const uint64_t count = std::min<uint64_t>(values.size() - done, kBatch);
    // The stream added to zeros is the stream.
    std::memset(random, 0, count * sizeof(uint32_t));
    AddMasks({reinterpret_cast<uint8_t*>(random), count * sizeof(uint32_t)}, sizeof(uint32_t),
             options.first_element + done, {&key, 1});
    saturated += QuantizeBatch<Lane>(values.data() + done, count, random, options.factor,
                                     options.bound, lanes + done * sizeof(Lane));
  }
  cpu::WipeBytes(random, sizeof(random));
  return saturated;
}

int64_t SignExtend(uint64_t value, uint32_t bits) {
  const uint32_t unused = 64 - bits;
  return static_cast<int64_t>(value << unused) >> unused;
}

uint64_t LoadLane(const uint8_t* lanes, uint32_t lane_bytes, uint64_t index) {
  uint64_t value = 0;
  std::memcpy(&value, lanes + index * lane_bytes, lane_bytes);
  return value;
}

template <typename Lane>
void DequantizeAll(const uint8_t* lanes, uint32_t sum_bits, double inverse_scale,
                   std::span<float> out) {
  for (uint64_t i = 0; i < out.size(); ++i) {
    Lane lane;
    std::memcpy(&lane, lanes + i * sizeof(Lane), sizeof(Lane));
    out[i] = static_cast<float>(static_cast<double>(SignExtend(lane, sum_bits)) * inverse_scale);
  }
}

void CheckLane(uint32_t lane_bytes) {
  assert(lane_bytes == 1 || lane_bytes == 2 || lane_bytes == 4 || lane_bytes == 8);
}

}  // namespace

double SquaredNorm(std::span<const float> values) {
  double lane[kNormLanes] = {};
  for (uint64_t i = 0; i < values.size(); ++i) {
    const double value = values[i];
    lane[i % kNormLanes] += value * value;
  }
  for (uint64_t half = kNormLanes / 2; half != 0; half /= 2) {
    for (uint64_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

double ClipFactor(double squared_norm, double clip_norm_l2) {
  const double norm = std::sqrt(squared_norm);
  if (norm <= clip_norm_l2) return 1.0;
  // An infinite norm gives 0 as it is; one that is not a number would let values through that
  // nothing bounds.
  return std::isnan(norm) ? 0.0 : clip_norm_l2 / norm;
}

uint64_t QuantizeStochastic(std::span<const float> values, const QuantizeOptions& options,
                            std::span<uint8_t> lanes) {
  CheckLane(options.lane_bytes);
  assert(lanes.size() >= values.size() * options.lane_bytes);
  switch (options.lane_bytes) {
    case 1:
      return QuantizeAll<uint8_t>(values, options, lanes.data());
    case 2:
      return QuantizeAll<uint16_t>(values, options, lanes.data());
    case 4:
      return QuantizeAll<uint32_t>(values, options, lanes.data());
    default:
      return QuantizeAll<uint64_t>(values, options, lanes.data());
  }
}

void Dequantize(std::span<const uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
                double inverse_scale, std::span<float> out) {
  CheckLane(lane_bytes);
  assert(sum_bits >= 1 && sum_bits <= 8 * lane_bytes && lanes.size() >= out.size() * lane_bytes);
  switch (lane_bytes) {
    case 1:
      return DequantizeAll<uint8_t>(lanes.data(), sum_bits, inverse_scale, out);
    case 2:
      return DequantizeAll<uint16_t>(lanes.data(), sum_bits, inverse_scale, out);
    case 4:
      return DequantizeAll<uint32_t>(lanes.data(), sum_bits, inverse_scale, out);
    default:
      return DequantizeAll<uint64_t>(lanes.data(), sum_bits, inverse_scale, out);
  }
}

int64_t SignedLane(std::span<const uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
                   uint64_t index) {
  CheckLane(lane_bytes);
  assert(sum_bits >= 1 && sum_bits <= 8 * lane_bytes && index < lanes.size() / lane_bytes);
  return SignExtend(LoadLane(lanes.data(), lane_bytes, index), sum_bits);
}

void StoreLane(std::span<uint8_t> lanes, uint32_t lane_bytes, uint64_t index, int64_t value) {
  CheckLane(lane_bytes);
  assert(index < lanes.size() / lane_bytes);
  std::memcpy(lanes.data() + index * lane_bytes, &value, lane_bytes);
}

}  // namespace atl::kernels
