// The implementations behind QuantizeStochastic and SquaredDistance, each by itself, for the
// dispatcher and tests.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/stochastic_round.h"

namespace atl::kernels::cpu {

// `count` values, what each is the difference to, its rounding bits, and where its lane goes.
struct QuantizeBatch {
  const float* values = nullptr;
  const float* origin = nullptr;
  const uint32_t* random = nullptr;
  uint64_t count = 0;
  double factor = 1.0;
  int64_t bound = 0;  // > 0
  uint32_t lane_bytes = 4;
  uint8_t* lanes = nullptr;
};

// The largest double that is at most `bound`: q > bound and q > FloorToDouble(bound) are the same
// for integral q.
double FloorToDouble(int64_t bound);

// Sums of squares are taken in so many parts, element i in part i % kSumParts, and the halves of
// the parts are added until one is left: the same order in every implementation.
inline constexpr uint64_t kSumParts = 16;
double SumOfParts(double (&parts)[kSumParts]);

// Asks for what will be read some time after `values`: over the ends of pages, where the CPU's own
// prefetcher stops.
inline void Prefetch(const float* values) {
  constexpr uintptr_t kAheadBytes = 2048;
  __builtin_prefetch(
      reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(values) + kAheadBytes));
}

struct QuantizeKernel {
  const char* name;
  bool (*supported)();                               // by this CPU
  uint64_t (*quantize)(const QuantizeBatch& batch);  // how many were saturated
  double (*squared_distance)(const float* a, const float* b, uint64_t count);
};

// Every implementation compiled in, fastest first; the last one runs everywhere.
std::span<const QuantizeKernel> QuantizeKernels();

uint64_t QuantizePortable(const QuantizeBatch& batch);
double SquaredDistancePortable(const float* a, const float* b, uint64_t count);
#if defined(__x86_64__)
uint64_t QuantizeAvx512(const QuantizeBatch& batch);
double SquaredDistanceAvx512(const float* a, const float* b, uint64_t count);
// Integers that may not fit the lane or 32 bits go to the portable code.
uint64_t QuantizeAvx2(const QuantizeBatch& batch);
double SquaredDistanceAvx2(const float* a, const float* b, uint64_t count);
#endif

}  // namespace atl::kernels::cpu
