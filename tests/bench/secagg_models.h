// The models that the benchmark's sites start from and end with, coordinate by coordinate.
#pragma once

#include <cstdint>

#include "comms/base/ids.h"
#include "comms/base/random.h"

namespace atl::bench {

inline constexpr double kAmplitude = 1e-3;  // of a coordinate's update

inline uint32_t Mixed(uint64_t e) {
  e = (e ^ (e >> 30)) * 0xbf58476d1ce4e5b9;
  return static_cast<uint32_t>(e >> 32);
}
// Uniform in [-1, 1), not random.
inline float Uniform(uint64_t e) { return static_cast<float>(Mixed(e) >> 8) * 0x1p-23f - 1; }
inline float GlobalAt(uint64_t e) { return Uniform(2 * e + 1) / 8; }
inline float LocalAt(uint64_t e) {
  return GlobalAt(e) + static_cast<float>(kAmplitude) * Uniform(2 * e + 2);
}
inline Digest RoundingKey(SiteId site) {
  return SeededKey({.seed = 1, .label = "rounding", .round = 1, .site = site.value()});
}

}  // namespace atl::bench
