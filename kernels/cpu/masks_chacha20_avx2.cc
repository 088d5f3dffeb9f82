// ChaCha20 on 256-bit vectors: 8 blocks at a time.
#if defined(__x86_64__)

#include <immintrin.h>

#define ATOLL_KERNEL_TARGET __attribute__((target("avx2")))

#include "kernels/cpu/chacha20_fused.h"

namespace atl::kernels::cpu {
namespace {

struct Simd {
  using V = __m256i;
  static constexpr int kBlocks = 8;
  ATOLL_KERNEL_TARGET static V Load(const void* p) {
    return _mm256_loadu_si256(static_cast<const V*>(p));
  }
  ATOLL_KERNEL_TARGET static void Store(void* p, V v) {
    _mm256_storeu_si256(static_cast<V*>(p), v);
  }
  ATOLL_KERNEL_TARGET static V Fill(uint32_t word) {
    return _mm256_set1_epi32(static_cast<int>(word));
  }
  ATOLL_KERNEL_TARGET static V Add32(V a, V b) { return _mm256_add_epi32(a, b); }
  ATOLL_KERNEL_TARGET static V Xor(V a, V b) { return _mm256_xor_si256(a, b); }
  template <int kBits>
  ATOLL_KERNEL_TARGET static V Rotate(V v) {
    if constexpr (kBits == 16) {
      return _mm256_shuffle_epi8(
          v, _mm256_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2,  //
                             13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2));
    } else if constexpr (kBits == 8) {
      return _mm256_shuffle_epi8(
          v, _mm256_set_epi8(14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3,  //
                             14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3));
    } else {
      return _mm256_or_si256(_mm256_slli_epi32(v, kBits), _mm256_srli_epi32(v, 32 - kBits));
    }
  }
  // Words to blocks: first in each half (four words of blocks k and k + 4), then the halves. A
  // block is two vectors.
  ATOLL_KERNEL_TARGET static void Transpose(V (&x)[16]) {
    V part[4][4];  // [k][words 4 g to 4 g + 3]
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      const V lo01 = _mm256_unpacklo_epi32(x[4 * g], x[4 * g + 1]);
      const V hi01 = _mm256_unpackhi_epi32(x[4 * g], x[4 * g + 1]);
      const V lo23 = _mm256_unpacklo_epi32(x[4 * g + 2], x[4 * g + 3]);
      const V hi23 = _mm256_unpackhi_epi32(x[4 * g + 2], x[4 * g + 3]);
      part[0][g] = _mm256_unpacklo_epi64(lo01, lo23);
      part[1][g] = _mm256_unpackhi_epi64(lo01, lo23);
      part[2][g] = _mm256_unpacklo_epi64(hi01, hi23);
      part[3][g] = _mm256_unpackhi_epi64(hi01, hi23);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      x[2 * k] = _mm256_permute2x128_si256(part[k][0], part[k][1], 0x20);
      x[2 * k + 1] = _mm256_permute2x128_si256(part[k][2], part[k][3], 0x20);
      x[8 + 2 * k] = _mm256_permute2x128_si256(part[k][0], part[k][1], 0x31);
      x[8 + 2 * k + 1] = _mm256_permute2x128_si256(part[k][2], part[k][3], 0x31);
    }
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

void AddChaCha20Avx2(const MaskKey& key, const MaskRange& range) {
  AddChaCha20Fused<Simd>(key, range);
}

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
