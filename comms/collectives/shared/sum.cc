#include "comms/collectives/shared/sum.h"

#include <algorithm>

namespace atl::shared {
namespace {

// Sixteen floats wherever they lie; without AVX-512 the compiler takes them apart.
typedef float Line __attribute__((vector_size(64), aligned(4), may_alias));
constexpr uint64_t kLine = 16;

struct Work {
  std::span<float*const> sources, targets;
  uint64_t first, last;
};

// Two ranks are the common case, and memory is all that counts: one pass, each line read once and
// written once.
[[gnu::always_inline]] inline void SumTwo(const float* a, const float* b, const Work& work) {
  uint64_t i = work.first;
  for (; i + kLine <= work.last; i += kLine) {
    const Line sum = *reinterpret_cast<const Line*>(a + i) + *reinterpret_cast<const Line*>(b + i);
    for (float* target : work.targets) *reinterpret_cast<Line*>(target + i) = sum;
  }
  for (; i < work.last; ++i) {
    const float sum = a[i] + b[i];
    for (float* target : work.targets) target[i] = sum;
  }
}

[[gnu::always_inline]] inline void SumAny(const Work& work) {
  if (work.sources.size() == 2) {
    SumTwo(work.sources[0], work.sources[1], work);
    return;
  }
  uint64_t i = work.first;
  for (; i + kLine <= work.last; i += kLine) {
    Line sum = *reinterpret_cast<const Line*>(work.sources[0] + i);
    for (const float* source : work.sources.subspan(1)) {
      sum += *reinterpret_cast<const Line*>(source + i);
    }
    for (float* target : work.targets) *reinterpret_cast<Line*>(target + i) = sum;
  }
  for (; i < work.last; ++i) {
    float sum = work.sources[0][i];
    for (const float* source : work.sources.subspan(1)) sum += source[i];
    for (float* target : work.targets) target[i] = sum;
  }
}

using Kernel = void (*)(const Work&);

void SumPortable(const Work& work) { SumAny(work); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) void SumAvx2(const Work& work) { SumAny(work); }
__attribute__((target("avx512f"))) void SumAvx512(const Work& work) { SumAny(work); }
#endif

Kernel Fastest() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return SumAvx512;
  if (__builtin_cpu_supports("avx2")) return SumAvx2;
#endif
  return SumPortable;
}

}  // namespace

void SumRange(std::span<float* const> sources, std::span<float* const> targets, uint64_t first,
              uint64_t last) {
  static const Kernel kernel = Fastest();
  kernel({sources, targets, first, last});
}

}  // namespace atl::shared
