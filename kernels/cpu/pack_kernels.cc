#include "kernels/cpu/pack_kernels.h"

namespace atl::kernels::cpu {
namespace {

#if defined(__x86_64__)
bool HasAvx512Vbmi() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
}
#endif

constexpr PackKernel kKernels[] = {
#if defined(__x86_64__)
    {"avx512", HasAvx512Vbmi, PackAvx512, UnpackAvx512},
    {"avx2", [] { return __builtin_cpu_supports("avx2") != 0; }, PackAvx2, UnpackAvx2},
#endif
    {"portable", [] { return true; }, PackPortable, UnpackPortable},
};

}  // namespace

std::span<const PackKernel> PackKernels() { return kKernels; }

}  // namespace atl::kernels::cpu
