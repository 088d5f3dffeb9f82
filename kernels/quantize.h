// Clip, weigh and round floats to integers; and back.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace atl::kernels {

// ||a - b||^2: differences in float, as QuantizeStochastic takes them, their squares and the sum in
// double precision, in a fixed order. a and b have the same size.
double SquaredDistance(std::span<const float> a, std::span<const float> b);

// The factor that brings a vector of this L2 norm to at most clip_norm_l2: min(1, clip / norm);
// 0 where the norm is infinite or not a number.
double ClipFactor(double squared_norm, double clip_norm_l2);

struct QuantizeOptions {
  double factor = 1.0;      // clip factor times weight a_i; times the segment's scale
  int64_t bound = 0;        // B: |q| <= B; what would be over is saturated and counted
  uint32_t lane_bytes = 4;  // of the output
  std::array<uint8_t, 32>
      rounding_key{};  // stochastic rounding draws its bits from AES-256-CTR under this key...
  uint64_t first_element =
      0;  // ...at the element's index, so that any split into ranges rounds the same
};

// q = floor(x * factor + u), x = value - origin in float, u uniform in [0, 1): E[q] = x * factor.
// Writes two's complement lanes (mod 2^(8 L)). origin: values.size() floats; lanes: values.size() *
// lane_bytes bytes. Returns the number of saturated values. NaN saturates to 0 and counts.
uint64_t QuantizeStochastic(std::span<const float> values, std::span<const float> origin,
                            const QuantizeOptions& options, std::span<uint8_t> lanes);

// Lanes hold sums mod 2^sum_bits; sign-extended from sum_bits, as doubles times `inverse_scale`,
// into float.
void Dequantize(std::span<const uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
                double inverse_scale, std::span<float> out);

// One lane as a signed integer, sign-extended from sum_bits.
int64_t SignedLane(std::span<const uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
                   uint64_t index);
void StoreLane(std::span<uint8_t> lanes, uint32_t lane_bytes, uint64_t index, int64_t value);

}  // namespace atl::kernels
