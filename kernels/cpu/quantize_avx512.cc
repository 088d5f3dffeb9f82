// Stochastic rounding of eight values at a time.
#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/quantize_kernels.h"

#define ATOLL_KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

namespace atl::kernels::cpu {
namespace {

// The masked forms spare gcc 12 a false warning about the register that the plain ones leave
// undefined.
constexpr __mmask8 kAll = 0xff;

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
  const __m512d factor = _mm512_set1_pd(batch.factor);
  const __m512d unit = _mm512_set1_pd(kRoundingUnit);
  const __m512d most = _mm512_set1_pd(FloorToDouble(batch.bound));
  const __m512d least = _mm512_set1_pd(-FloorToDouble(batch.bound));
  const __m512i bound = _mm512_set1_epi64(batch.bound);
  const __m512i minus_bound = _mm512_set1_epi64(-batch.bound);
  uint64_t saturated = 0;
  for (uint64_t i = 0; i < batch.count; i += 8) {
    const uint64_t left = batch.count - i;
    const __mmask8 present = left >= 8 ? kAll : static_cast<__mmask8>((1u << left) - 1);
    const __m512d x = _mm512_maskz_cvtps_pd(kAll, _mm256_maskz_loadu_ps(present, batch.values + i));
    const __m512d u =
        _mm512_maskz_cvtepu32_pd(kAll, _mm256_maskz_loadu_epi32(present, batch.random + i));
    // Product and sum are rounded one by one, as everywhere.
    const __m512d sum = _mm512_add_pd(_mm512_mul_pd(x, factor), _mm512_mul_pd(u, unit));
    const __m512d q =
        _mm512_maskz_roundscale_pd(kAll, sum, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
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

}  // namespace

uint64_t QuantizeAvx512(const QuantizeBatch& batch) {
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

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
