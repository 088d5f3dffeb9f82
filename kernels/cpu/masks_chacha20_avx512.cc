// ChaCha20 on 512-bit vectors: 16 blocks at a time.
#if defined(__x86_64__)

#include <immintrin.h>

#define ATOLL_KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl")))

#include "kernels/cpu/chacha20_fused.h"

namespace atl::kernels::cpu {
namespace {

// The masked forms spare gcc 12 a false warning about the register that the plain ones leave
// undefined.
struct Simd {
  using V = __m512i;
  static constexpr int kBlocks = 16;
  ATOLL_KERNEL_TARGET static V Load(const void* p) { return _mm512_loadu_si512(p); }
  ATOLL_KERNEL_TARGET static void Store(void* p, V v) { _mm512_storeu_si512(p, v); }
  ATOLL_KERNEL_TARGET static V Fill(uint32_t word) {
    return _mm512_set1_epi32(static_cast<int>(word));
  }
  ATOLL_KERNEL_TARGET static V Add32(V a, V b) { return _mm512_add_epi32(a, b); }
  ATOLL_KERNEL_TARGET static V Xor(V a, V b) { return _mm512_xor_si512(a, b); }
  template <int kBits>
  ATOLL_KERNEL_TARGET static V Rotate(V v) {
    return _mm512_maskz_rol_epi32(0xffff, v, kBits);
  }
  // Words to blocks: first in each 128-bit quarter (four words of blocks k, k + 4, k + 8, k + 12),
  // then the quarters.
  ATOLL_KERNEL_TARGET static void Transpose(V (&x)[16]) {
    V part[4][4];  // [k][words 4 g to 4 g + 3]
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      const V lo01 = UnpackLo32(x[4 * g], x[4 * g + 1]);
      const V hi01 = UnpackHi32(x[4 * g], x[4 * g + 1]);
      const V lo23 = UnpackLo32(x[4 * g + 2], x[4 * g + 3]);
      const V hi23 = UnpackHi32(x[4 * g + 2], x[4 * g + 3]);
      part[0][g] = UnpackLo64(lo01, lo23);
      part[1][g] = UnpackHi64(lo01, lo23);
      part[2][g] = UnpackLo64(hi01, hi23);
      part[3][g] = UnpackHi64(hi01, hi23);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const V even01 = Quarters<0x88>(part[k][0], part[k][1]);
      const V odd01 = Quarters<0xdd>(part[k][0], part[k][1]);
      const V even23 = Quarters<0x88>(part[k][2], part[k][3]);
      const V odd23 = Quarters<0xdd>(part[k][2], part[k][3]);
      x[k] = Quarters<0x88>(even01, even23);
      x[4 + k] = Quarters<0x88>(odd01, odd23);
      x[8 + k] = Quarters<0xdd>(even01, even23);
      x[12 + k] = Quarters<0xdd>(odd01, odd23);
    }
  }
  ATOLL_KERNEL_TARGET static V UnpackLo32(V a, V b) {
    return _mm512_maskz_unpacklo_epi32(0xffff, a, b);
  }
  ATOLL_KERNEL_TARGET static V UnpackHi32(V a, V b) {
    return _mm512_maskz_unpackhi_epi32(0xffff, a, b);
  }
  ATOLL_KERNEL_TARGET static V UnpackLo64(V a, V b) {
    return _mm512_maskz_unpacklo_epi64(0xff, a, b);
  }
  ATOLL_KERNEL_TARGET static V UnpackHi64(V a, V b) {
    return _mm512_maskz_unpackhi_epi64(0xff, a, b);
  }
  template <int kChoice>
  ATOLL_KERNEL_TARGET static V Quarters(V a, V b) {
    return _mm512_maskz_shuffle_i32x4(0xffff, a, b, kChoice);
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

void AddChaCha20Avx512(const MaskKey& key, const MaskRange& range) {
  AddChaCha20Fused<Simd>(key, range);
}

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
