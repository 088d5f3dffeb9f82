// The implementations behind QuantizeStochastic, each by itself, for the dispatcher and tests.
#pragma once

#include <cstdint>
#include <span>

namespace atl::kernels::cpu {

// `count` values, the rounding bits of each, and where their lanes go.
struct QuantizeBatch {
  const float* values = nullptr;
  const uint32_t* random = nullptr;
  uint64_t count = 0;
  double factor = 1.0;
  int64_t bound = 0;  // > 0
  uint32_t lane_bytes = 4;
  uint8_t* lanes = nullptr;
};

// u = random bits times this.
inline constexpr double kRoundingUnit = 0x1p-32;

// The largest double that is at most `bound`: q > bound and q > FloorToDouble(bound) are the same
// for integral q.
double FloorToDouble(int64_t bound);

struct QuantizeKernel {
  const char* name;
  bool (*supported)();                               // by this CPU
  uint64_t (*quantize)(const QuantizeBatch& batch);  // how many were saturated
};

// Every implementation compiled in, fastest first; the last one runs everywhere.
std::span<const QuantizeKernel> QuantizeKernels();

uint64_t QuantizePortable(const QuantizeBatch& batch);
#if defined(__x86_64__)
uint64_t QuantizeAvx512(const QuantizeBatch& batch);
#endif

}  // namespace atl::kernels::cpu
