// AES-256-CTR with VAES on 512-bit vectors: four blocks a vector.
#if defined(__x86_64__)

#include <immintrin.h>

#define ATOLL_KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,aes,vaes")))

#include "kernels/cpu/aes_ctr_fused.h"

namespace atl::kernels::cpu {
namespace {

// The masked broadcasts spare gcc 12 a false warning about the register that the plain ones leave
// undefined.
struct Simd {
  using V = __m512i;
  static constexpr int kBlocks = 4;
  ATOLL_KERNEL_TARGET static V Load(const void* p) { return _mm512_loadu_si512(p); }
  ATOLL_KERNEL_TARGET static void Store(void* p, V v) { _mm512_storeu_si512(p, v); }
  ATOLL_KERNEL_TARGET static V Repeat(const void* p) {
    return _mm512_maskz_broadcast_i32x4(0xffff, _mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  ATOLL_KERNEL_TARGET static V Xor(V a, V b) { return _mm512_xor_si512(a, b); }
  ATOLL_KERNEL_TARGET static V And(V a, V b) { return _mm512_and_si512(a, b); }
  ATOLL_KERNEL_TARGET static V Add64(V a, V b) { return _mm512_add_epi64(a, b); }
  ATOLL_KERNEL_TARGET static V Reverse(V v) {
    return _mm512_shuffle_epi8(
        v, _mm512_maskz_broadcast_i32x4(
               0xffff, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
  }
  ATOLL_KERNEL_TARGET static V Round(V state, V key) { return _mm512_aesenc_epi128(state, key); }
  ATOLL_KERNEL_TARGET static V LastRound(V state, V key) {
    return _mm512_aesenclast_epi128(state, key);
  }
  template <uint32_t kLane>
  ATOLL_KERNEL_TARGET static V Add(V a, V b) {
    if constexpr (kLane == 1) return _mm512_add_epi8(a, b);
    if constexpr (kLane == 2) return _mm512_add_epi16(a, b);
    if constexpr (kLane == 4) return _mm512_add_epi32(a, b);
    return _mm512_add_epi64(a, b);
  }
  template <uint32_t kLane>
  ATOLL_KERNEL_TARGET static V Sub(V a, V b) {
    if constexpr (kLane == 1) return _mm512_sub_epi8(a, b);
    if constexpr (kLane == 2) return _mm512_sub_epi16(a, b);
    if constexpr (kLane == 4) return _mm512_sub_epi32(a, b);
    return _mm512_sub_epi64(a, b);
  }
};

}  // namespace

void AddAesVaes512(const MaskKey& key, const MaskRange& range) { AddAesFused<Simd>(key, range); }

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
