// Stochastic rounding and sums of squares, eight values at a time.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "kernels/cpu/quantize_kernels.h"

#define ATOLL_KERNEL_TARGET __attribute__((target("avx2")))

namespace atl::kernels::cpu {
namespace {

// Four 32-bit integers without sign as doubles: they are the low bits of 2^52 + integer.
ATOLL_KERNEL_TARGET inline __m256d ToDouble(__m128i integers) {
  const __m256d two_to_52 = _mm256_set1_pd(0x1p52);
  const __m256i bits =
      _mm256_or_si256(_mm256_cvtepu32_epi64(integers), _mm256_castpd_si256(two_to_52));
  return _mm256_sub_pd(_mm256_castsi256_pd(bits), two_to_52);
}

struct Rounding {
  __m256d factor, unit, most, least;
  ATOLL_KERNEL_TARGET explicit Rounding(const QuantizeBatch& batch)
      : factor(_mm256_set1_pd(batch.factor)),
        unit(_mm256_set1_pd(kRoundingUnit)),
        most(_mm256_set1_pd(std::nextafter(static_cast<double>(batch.bound) + 1, 0.0))),
        least(_mm256_set1_pd(-static_cast<double>(batch.bound))) {}

  // Four values: brought into [-bound, bound + 1), then rounded down; one that had to be brought
  // there was saturated.
  ATOLL_KERNEL_TARGET __m128i operator()(__m128 x, __m128i random, int& saturated) const {
    const __m256d sum = _mm256_add_pd(_mm256_mul_pd(_mm256_cvtps_pd(x), factor),
                                      _mm256_mul_pd(ToDouble(random), unit));
    const __m256d inside = _mm256_max_pd(_mm256_min_pd(sum, most), least);  // NaN: most
    saturated += __builtin_popcount(
        static_cast<unsigned>(_mm256_movemask_pd(_mm256_cmp_pd(inside, sum, _CMP_NEQ_UQ))));
    const __m256d number = _mm256_cmp_pd(sum, sum, _CMP_ORD_Q);
    return _mm256_cvttpd_epi32(_mm256_and_pd(_mm256_floor_pd(inside), number));
  }
};

template <uint32_t kLane>
ATOLL_KERNEL_TARGET inline void Store(uint8_t* lanes, __m128i low, __m128i high) {
  __m128i* out = reinterpret_cast<__m128i*>(lanes);
  if constexpr (kLane <= 2) {  // within the bound, so that nothing saturates here
    const __m128i words = _mm_packs_epi32(low, high);
    if constexpr (kLane == 2) {
      _mm_storeu_si128(out, words);
    } else {
      _mm_storel_epi64(out, _mm_packs_epi16(words, words));
    }
  } else if constexpr (kLane == 4) {
    _mm_storeu_si128(out, low);
    _mm_storeu_si128(out + 1, high);
  } else {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_cvtepi32_epi64(low));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2), _mm256_cvtepi32_epi64(high));
  }
}

template <uint32_t kLane>
ATOLL_KERNEL_TARGET uint64_t Quantize(const QuantizeBatch& batch) {
  const Rounding round(batch);
  int saturated_of_8 = 0;
  uint64_t saturated = 0, i = 0;
  for (; i + 8 <= batch.count; i += 8) {
    Prefetch(batch.values + i);
    Prefetch(batch.origin + i);
    const __m256 x =
        _mm256_sub_ps(_mm256_loadu_ps(batch.values + i), _mm256_loadu_ps(batch.origin + i));
    const __m256i random = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(batch.random + i));
    saturated_of_8 = 0;
    const __m128i low =
        round(_mm256_castps256_ps128(x), _mm256_castsi256_si128(random), saturated_of_8);
    const __m128i high =
        round(_mm256_extractf128_ps(x, 1), _mm256_extracti128_si256(random, 1), saturated_of_8);
    Store<kLane>(batch.lanes + i * kLane, low, high);
    saturated += static_cast<uint64_t>(saturated_of_8);
  }
  QuantizeBatch rest = batch;
  rest.values += i;
  rest.origin += i;
  rest.random += i;
  rest.count -= i;
  rest.lanes += i * kLane;
  return saturated + QuantizePortable(rest);
}

}  // namespace

uint64_t QuantizeAvx2(const QuantizeBatch& batch) {
  // Integers fit 32 bits, and in lanes of 1 and 2 bytes those too.
  const uint32_t bits = batch.lane_bytes < 4 ? 8 * batch.lane_bytes : 32;
  if (batch.bound >= int64_t{1} << (bits - 1)) return QuantizePortable(batch);
  switch (batch.lane_bytes) {
    case 1:
      return Quantize<1>(batch);
    case 2:
      return Quantize<2>(batch);
    case 4:
      return Quantize<4>(batch);
    default:
      return Quantize<8>(batch);
  }
}

ATOLL_KERNEL_TARGET double SquaredDistanceAvx2(const float* a, const float* b, uint64_t count) {
  __m256d part[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                     _mm256_setzero_pd()};
  uint64_t i = 0;
  for (; i + kSumParts <= count; i += kSumParts) {
    Prefetch(a + i);
    Prefetch(b + i);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const __m256d x =
          _mm256_cvtps_pd(_mm_sub_ps(_mm_loadu_ps(a + i + 4 * k), _mm_loadu_ps(b + i + 4 * k)));
      part[k] = _mm256_add_pd(part[k], _mm256_mul_pd(x, x));
    }
  }
  double parts[kSumParts];
  for (int k = 0; k < 4; ++k) _mm256_storeu_pd(parts + 4 * k, part[k]);
  for (; i < count; ++i) {
    const double x = a[i] - b[i];
    parts[i % kSumParts] += x * x;
  }
  return SumOfParts(parts);
}

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
