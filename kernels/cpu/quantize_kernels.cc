#include "kernels/cpu/quantize_kernels.h"

#include <cmath>
#include <cstring>

namespace atl::kernels::cpu {
namespace {

template <typename Lane>
uint64_t Quantize(const QuantizeBatch& batch) {
  const Rounding rounding{batch.factor, batch.bound, FloorToDouble(batch.bound)};
  uint64_t saturated = 0;
  for (uint64_t i = 0; i < batch.count; ++i) {
    const Lane lane = static_cast<Lane>(
        RoundStochastic(batch.values[i] - batch.origin[i], batch.random[i], rounding, saturated));
    std::memcpy(batch.lanes + i * sizeof(Lane), &lane, sizeof(Lane));
  }
  return saturated;
}

bool Always() { return true; }

#if defined(__x86_64__)
bool HasAvx2() { return __builtin_cpu_supports("avx2"); }
bool HasAvx512Dq() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

constexpr QuantizeKernel kKernels[] = {
#if defined(__x86_64__)
    {"avx512", HasAvx512Dq, QuantizeAvx512, SquaredDistanceAvx512},
    {"avx2", HasAvx2, QuantizeAvx2, SquaredDistanceAvx2},
#endif
    {"portable", Always, QuantizePortable, SquaredDistancePortable},
};

}  // namespace

double FloorToDouble(int64_t bound) {
  const double nearest = static_cast<double>(bound);
  const bool above = nearest >= 0x1p63 || static_cast<int64_t>(nearest) > bound;
  return above ? std::nextafter(nearest, 0.0) : nearest;
}

double SumOfParts(double (&parts)[kSumParts]) {
  for (uint64_t half = kSumParts / 2; half != 0; half /= 2) {
    for (uint64_t i = 0; i < half; ++i) parts[i] += parts[i + half];
  }
  return parts[0];
}

double SquaredDistancePortable(const float* a, const float* b, uint64_t count) {
  double parts[kSumParts] = {};
  for (uint64_t i = 0; i < count; ++i) {
    const double difference = a[i] - b[i];
    parts[i % kSumParts] += difference * difference;
  }
  return SumOfParts(parts);
}

std::span<const QuantizeKernel> QuantizeKernels() { return kKernels; }

uint64_t QuantizePortable(const QuantizeBatch& batch) {
  switch (batch.lane_bytes) {
    case 1:
      return Quantize<uint8_t>(batch);
    case 2:
      return Quantize<uint16_t>(batch);
    case 4:
      return Quantize<uint32_t>(batch);
    default:
      return Quantize<uint64_t>(batch);
  }
}

}  // namespace atl::kernels::cpu
