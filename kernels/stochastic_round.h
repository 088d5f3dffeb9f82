// Stochastic rounding of one value, as QuantizeStochastic defines it: the portable CPU code and
// what a GPU's thread runs.
#pragma once

#include <cstdint>

#include "kernels/host_device.h"

namespace atl::kernels {

// u = random bits times this.
inline constexpr double kRoundingUnit = 0x1p-32;

struct Rounding {
  double factor = 1.0;
  int64_t bound = 0;  // > 0
  double most = 0;    // the largest double that is at most `bound`
};

// Product and sum are rounded one by one, whatever the compiler thinks of fused operations.
ATOLL_HOST_DEVICE inline double ScaleAndAdd(double x, double factor, double u) {
#if defined(__CUDA_ARCH__)
  return __dadd_rn(__dmul_rn(x, factor), u);
#else
  return x * factor + u;
#endif
}

// The largest integer not above x, for |x| < 2^62; without a call to floor(), which is slow where
// the compiler may not assume SSE4.1.
ATOLL_HOST_DEVICE inline int64_t FloorToInteger(double x) {
  const int64_t towards_zero = static_cast<int64_t>(x);
  return towards_zero - (static_cast<double>(towards_zero) > x ? 1 : 0);
}

// Adds 1 to `saturated` where the result was.
ATOLL_HOST_DEVICE inline int64_t RoundStochastic(float x, uint32_t random, const Rounding& rounding,
                                                 uint64_t& saturated) {
  constexpr double kSafe = 0x1p62;
  const double sum = ScaleAndAdd(static_cast<double>(x), rounding.factor,
                                 static_cast<double>(random) * kRoundingUnit);
  const bool safe = sum > -kSafe && sum < kSafe;
  const int64_t integer = safe ? FloorToInteger(sum) : 0;
  if (safe && integer <= rounding.bound && integer >= -rounding.bound) return integer;
  // Doubles outside `safe` are integers already.
  if (!safe && sum >= -rounding.most && sum <= rounding.most) return static_cast<int64_t>(sum);
  ++saturated;
  return sum > 0 ? rounding.bound : sum < 0 ? -rounding.bound : 0;  // 0: not a number
}

}  // namespace atl::kernels
