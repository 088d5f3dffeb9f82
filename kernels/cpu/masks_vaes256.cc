// AES-256-CTR with VAES on 256-bit vectors: two blocks a vector.
#if defined(__x86_64__)

#include <immintrin.h>

#define ATOLL_KERNEL_TARGET __attribute__((target("avx2,aes,vaes")))

#include "kernels/cpu/aes_ctr_fused.h"

namespace atl::kernels::cpu {
namespace {

struct Simd {
  using V = __m256i;
  static constexpr int kBlocks = 2;
  ATOLL_KERNEL_TARGET static V Load(const void* p) {
    return _mm256_loadu_si256(static_cast<const V*>(p));
  }
  ATOLL_KERNEL_TARGET static void Store(void* p, V v) {
    _mm256_storeu_si256(static_cast<V*>(p), v);
  }
  ATOLL_KERNEL_TARGET static V Repeat(const void* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  ATOLL_KERNEL_TARGET static V Xor(V a, V b) { return _mm256_xor_si256(a, b); }
  ATOLL_KERNEL_TARGET static V And(V a, V b) { return _mm256_and_si256(a, b); }
  ATOLL_KERNEL_TARGET static V Add64(V a, V b) { return _mm256_add_epi64(a, b); }
  ATOLL_KERNEL_TARGET static V Reverse(V v) {
    return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(_mm_set_epi8(
                                      0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
  }
  ATOLL_KERNEL_TARGET static V Round(V state, V key) { return _mm256_aesenc_epi128(state, key); }
  ATOLL_KERNEL_TARGET static V LastRound(V state, V key) {
    return _mm256_aesenclast_epi128(state, key);
  }
  template <uint32_t kLane>
  ATOLL_KERNEL_TARGET static V Add(V a, V b) {
    if constexpr (kLane == 1) return _mm256_add_epi8(a, b);
    if constexpr (kLane == 2) return _mm256_add_epi16(a, b);
    if constexpr (kLane == 4) return _mm256_add_epi32(a, b);
    return _mm256_add_epi64(a, b);
  }
  template <uint32_t kLane>
  ATOLL_KERNEL_TARGET static V Sub(V a, V b) {
    if constexpr (kLane == 1) return _mm256_sub_epi8(a, b);
    if constexpr (kLane == 2) return _mm256_sub_epi16(a, b);
    if constexpr (kLane == 4) return _mm256_sub_epi32(a, b);
    return _mm256_sub_epi64(a, b);
  }
};

}  // namespace

void AddAesVaes256(const MaskKey& key, const MaskRange& range) { AddAesFused<Simd>(key, range); }

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
