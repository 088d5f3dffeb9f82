#include "kernels/cpu/mask_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace atl::kernels::cpu {
namespace {

bool Always() { return true; }

#if defined(__x86_64__)
// __builtin_cpu_supports also asks whether the operating system saves the registers.
bool HasAesNi() { return __builtin_cpu_supports("aes") && __builtin_cpu_supports("ssse3"); }
bool HasAvx2() { return __builtin_cpu_supports("avx2"); }
// Clang 14 does not know the name "vaes": leaf 7, ECX bit 9.
bool HasVaes() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> 9 & 1) != 0;
}
bool HasVaes256() { return HasAesNi() && HasAvx2() && HasVaes(); }
bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}
bool HasVaes512() { return HasVaes256() && HasAvx512(); }
#endif

constexpr MaskKernel kKernels[] = {
#if defined(__x86_64__)
    {"vaes512", MaskCipher::kAes256Ctr, HasVaes512, AddAesVaes512},
    {"vaes256", MaskCipher::kAes256Ctr, HasVaes256, AddAesVaes256},
    {"aesni", MaskCipher::kAes256Ctr, HasAesNi, AddAesNi},
#endif
    {"scalar", MaskCipher::kAes256Ctr, Always, AddAesScalar},
#if defined(__x86_64__)
    {"avx512", MaskCipher::kChaCha20, HasAvx512, AddChaCha20Avx512},
    {"avx2", MaskCipher::kChaCha20, HasAvx2, AddChaCha20Avx2},
#endif
    {"scalar", MaskCipher::kChaCha20, Always, AddChaCha20Scalar},
};

const MaskKernel& FirstSupported(MaskCipher cipher) {
  for (const MaskKernel& kernel : kKernels) {
    if (kernel.cipher == cipher && kernel.supported()) return kernel;
  }
  __builtin_unreachable();  // the scalar kernels run everywhere
}

}  // namespace

std::span<const MaskKernel> MaskKernels() { return kKernels; }

const MaskKernel& BestMaskKernel(MaskCipher cipher) {
  static const MaskKernel& aes = FirstSupported(MaskCipher::kAes256Ctr);
  static const MaskKernel& chacha = FirstSupported(MaskCipher::kChaCha20);
  return cipher == MaskCipher::kChaCha20 ? chacha : aes;
}

}  // namespace atl::kernels::cpu
