// AES-256-CTR with AES-NI: one block a vector.
#if defined(__x86_64__)

#include <immintrin.h>

#define ATOLL_KERNEL_TARGET __attribute__((target("aes,ssse3")))

#include "kernels/cpu/aes_ctr_fused.h"

namespace atl::kernels::cpu {
namespace {

struct Simd {
  using V = __m128i;
  static constexpr int kBlocks = 1;
  ATOLL_KERNEL_TARGET static V Load(const void* p) {
    return _mm_loadu_si128(static_cast<const V*>(p));
  }
  ATOLL_KERNEL_TARGET static void Store(void* p, V v) { _mm_storeu_si128(static_cast<V*>(p), v); }
  ATOLL_KERNEL_TARGET static V Repeat(const void* p) { return Load(p); }
  ATOLL_KERNEL_TARGET static V Xor(V a, V b) { return _mm_xor_si128(a, b); }
  ATOLL_KERNEL_TARGET static V And(V a, V b) { return _mm_and_si128(a, b); }
  ATOLL_KERNEL_TARGET static V Add64(V a, V b) { return _mm_add_epi64(a, b); }
  ATOLL_KERNEL_TARGET static V Reverse(V v) {
    return _mm_shuffle_epi8(v, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  }
  ATOLL_KERNEL_TARGET static V Round(V state, V key) { return _mm_aesenc_si128(state, key); }
  ATOLL_KERNEL_TARGET static V LastRound(V state, V key) {
    return _mm_aesenclast_si128(state, key);
  }
  template <uint32_t kLane>
  ATOLL_KERNEL_TARGET static V Add(V a, V b) {
    if constexpr (kLane == 1) return _mm_add_epi8(a, b);
    if constexpr (kLane == 2) return _mm_add_epi16(a, b);
    if constexpr (kLane == 4) return _mm_add_epi32(a, b);
    return _mm_add_epi64(a, b);
  }
  template <uint32_t kLane>
  ATOLL_KERNEL_TARGET static V Sub(V a, V b) {
    if constexpr (kLane == 1) return _mm_sub_epi8(a, b);
    if constexpr (kLane == 2) return _mm_sub_epi16(a, b);
    if constexpr (kLane == 4) return _mm_sub_epi32(a, b);
    return _mm_sub_epi64(a, b);
  }
};

}  // namespace

// With four equal columns ShiftRows moves nothing, and the last round is the S-box alone.
ATOLL_KERNEL_TARGET uint32_t SubWordAesNi(uint32_t word) {
  const __m128i columns = _mm_set1_epi32(static_cast<int>(word));
  return static_cast<uint32_t>(
      _mm_cvtsi128_si32(_mm_aesenclast_si128(columns, _mm_setzero_si128())));
}

void AddAesNi(const MaskKey& key, const MaskRange& range) { AddAesFused<Simd>(key, range); }

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
