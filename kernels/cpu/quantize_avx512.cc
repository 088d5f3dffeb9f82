// Stochastic rounding and sums of squares, eight values at a time.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cmath>

#include "kernels/cpu/quantize_kernels.h"

#define ATOLL_KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

namespace atl::kernels::cpu {
namespace {

// The masked forms spare gcc 12 a false warning about the register that the plain ones leave
// undefined.
constexpr __mmask8 kAll = 0xff;

// Of a vector of eight, when so many are left.
inline __mmask8 Present(uint64_t left) {
  return left >= 8 ? kAll : static_cast<__mmask8>((1u << left) - 1);
}

// Eight values of a batch, of which `present` are there: x * factor + u. The product is rounded,
// u is exact, and so is its product with the unit: one rounding for the sum, as everywhere.
struct Sum {
  __m512d factor, unit;
  ATOLL_KERNEL_TARGET explicit Sum(const QuantizeBatch& batch)
      : factor(_mm512_set1_pd(batch.factor)), unit(_mm512_set1_pd(kRoundingUnit)) {}
  ATOLL_KERNEL_TARGET __m512d operator()(__m256 x, __m256i random) const {
    return _mm512_fmadd_pd(_mm512_maskz_cvtepu32_pd(kAll, random), unit,
                           _mm512_mul_pd(_mm512_maskz_cvtps_pd(kAll, x), factor));
  }
};

template <uint32_t kLane>
ATOLL_KERNEL_TARGET inline void StoreLanes(uint8_t* lanes, __mmask8 present, __m512i integers) {
  if constexpr (kLane == 1) {
    _mm_mask_storeu_epi8(lanes, present, _mm512_maskz_cvtepi64_epi8(kAll, integers));
  } else if constexpr (kLane == 2) {
    _mm_mask_storeu_epi16(lanes, present, _mm512_maskz_cvtepi64_epi16(kAll, integers));
  } else if constexpr (kLane == 4) {
    _mm256_mask_storeu_epi32(lanes, present, _mm512_maskz_cvtepi64_epi32(kAll, integers));
  } else {
    _mm512_mask_storeu_epi64(lanes, present, integers);
  }
}

template <uint32_t kLane>
ATOLL_KERNEL_TARGET uint64_t Quantize(const QuantizeBatch& batch) {
  const Sum sum_of(batch);
  const __m512d most = _mm512_set1_pd(FloorToDouble(batch.bound));
  const __m512d least = _mm512_set1_pd(-FloorToDouble(batch.bound));
  const __m512i bound = _mm512_set1_epi64(batch.bound);
  const __m512i minus_bound = _mm512_set1_epi64(-batch.bound);
  uint64_t saturated = 0;
  for (uint64_t i = 0; i < batch.count; i += 8) {
    Prefetch(batch.values + i);
    Prefetch(batch.origin + i);
    const __mmask8 present = Present(batch.count - i);
    const __m256 x = _mm256_sub_ps(_mm256_maskz_loadu_ps(present, batch.values + i),
                                   _mm256_maskz_loadu_ps(present, batch.origin + i));
    const __m512d q = _mm512_maskz_roundscale_pd(
        kAll, sum_of(x, _mm256_maskz_loadu_epi32(present, batch.random + i)),
        _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    const __mmask8 over = _mm512_cmp_pd_mask(q, most, _CMP_GT_OQ);
    const __mmask8 under = _mm512_cmp_pd_mask(q, least, _CMP_LT_OQ);
    const __mmask8 nan = _mm512_cmp_pd_mask(q, q, _CMP_UNORD_Q);
    __m512i integers = _mm512_maskz_cvttpd_epi64(static_cast<__mmask8>(~nan), q);
    integers = _mm512_mask_mov_epi64(integers, over, bound);
    integers = _mm512_mask_mov_epi64(integers, under, minus_bound);
    saturated += static_cast<uint64_t>(__builtin_popcount((over | under | nan) & present));
    StoreLanes<kLane>(batch.lanes + i * kLane, present, integers);
  }
  return saturated;
}

template <uint32_t kLane>
ATOLL_KERNEL_TARGET inline void StoreNarrow(uint8_t* lanes, __mmask8 present, __m256i integers) {
  if constexpr (kLane == 1) {
    _mm_mask_storeu_epi8(lanes, present, _mm256_maskz_cvtepi32_epi8(kAll, integers));
  } else if constexpr (kLane == 2) {
    _mm_mask_storeu_epi16(lanes, present, _mm256_maskz_cvtepi32_epi16(kAll, integers));
  } else if constexpr (kLane == 4) {
    _mm256_mask_storeu_epi32(lanes, present, integers);
  } else {
    _mm512_mask_storeu_epi64(lanes, present, _mm512_maskz_cvtepi32_epi64(kAll, integers));
  }
}

// For bounds whose integers fit 32 bits. A sum is brought into [-bound, bound + 1) and rounded down
// by the conversion; one that had to be brought there was saturated.
struct Narrow {
  __m512d most, least;
  ATOLL_KERNEL_TARGET explicit Narrow(int64_t bound)
      : most(_mm512_set1_pd(std::nextafter(static_cast<double>(bound) + 1, 0.0))),
        least(_mm512_set1_pd(-static_cast<double>(bound))) {}
  ATOLL_KERNEL_TARGET __m256i operator()(__m512d sum, __mmask8& saturated) const {
    const __m512d inside =
        _mm512_maskz_max_pd(kAll, _mm512_maskz_min_pd(kAll, sum, most), least);  // NaN: most
    saturated = _mm512_cmp_pd_mask(inside, sum, _CMP_NEQ_UQ);
    const __mmask8 number = _mm512_cmp_pd_mask(sum, sum, _CMP_ORD_Q);
    return _mm512_maskz_cvt_roundpd_epi32(number, inside,
                                          _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  }
};

template <uint32_t kLane>
ATOLL_KERNEL_TARGET uint64_t QuantizeNarrow(const QuantizeBatch& batch) {
  const Sum sum_of(batch);
  const Narrow narrow(batch.bound);
  uint64_t saturated = 0;
  for (uint64_t i = 0; i < batch.count; i += 8) {
    Prefetch(batch.values + i);
    Prefetch(batch.origin + i);
    const __mmask8 present = Present(batch.count - i);
    const __m256 x = _mm256_sub_ps(_mm256_maskz_loadu_ps(present, batch.values + i),
                                   _mm256_maskz_loadu_ps(present, batch.origin + i));
    __mmask8 over;  // what is not there is zero and inside every bound
    StoreNarrow<kLane>(
        batch.lanes + i * kLane, present,
        narrow(sum_of(x, _mm256_maskz_loadu_epi32(present, batch.random + i)), over));
    saturated += static_cast<uint64_t>(__builtin_popcount(over));
  }
  return saturated;
}

template <uint32_t kLane>
uint64_t QuantizeLanes(const QuantizeBatch& batch) {
  return batch.bound < (int64_t{1} << 31) ? QuantizeNarrow<kLane>(batch) : Quantize<kLane>(batch);
}

}  // namespace

uint64_t QuantizeAvx512(const QuantizeBatch& batch) {
  switch (batch.lane_bytes) {
    case 1:
      return QuantizeLanes<1>(batch);
    case 2:
      return QuantizeLanes<2>(batch);
    case 4:
      return QuantizeLanes<4>(batch);
    default:
      return QuantizeLanes<8>(batch);
  }
}

ATOLL_KERNEL_TARGET double SquaredDistanceAvx512(const float* a, const float* b, uint64_t count) {
  __m512d part[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
  const auto add = [&](uint64_t i, __mmask8 present, __m512d& sum) ATOLL_KERNEL_TARGET {
    const __m512d x =
        _mm512_maskz_cvtps_pd(kAll, _mm256_sub_ps(_mm256_maskz_loadu_ps(present, a + i),
                                                  _mm256_maskz_loadu_ps(present, b + i)));
    sum = _mm512_fmadd_pd(x, x, sum);  // a float's square is exact in double
  };
  uint64_t i = 0;
  for (; i + kSumParts <= count; i += kSumParts) {
    Prefetch(a + i);
    Prefetch(b + i);
    add(i, kAll, part[0]);
    add(i + 8, kAll, part[1]);
  }
  if (i < count) add(i, Present(count - i), part[0]);
  if (i + 8 < count) add(i + 8, Present(count - i - 8), part[1]);
  double parts[kSumParts];
  _mm512_storeu_pd(parts, part[0]);
  _mm512_storeu_pd(parts + 8, part[1]);
  return SumOfParts(parts);
}

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
