#include "tests/bench/bench_masks_baselines.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "kernels/pack.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace atl::bench {
namespace {

constexpr int kStates = 8;  // independent ones: more than the instruction's latency

#if defined(__x86_64__)

// A function for each vector width: its instructions need the function's own target attribute.
#define ATOLL_AES_ROUNDS(Name, kTarget, Vector, Fill, Round)              \
  __attribute__((target(kTarget))) uint64_t Name(uint64_t bytes) {        \
    Vector state[kStates];                                                \
    for (int i = 0; i < kStates; ++i) state[i] = Fill(i);                 \
    const Vector key = Fill(0x5a5a1234);                                  \
    uint64_t done = 0;                                                    \
    for (; done < bytes; done += kStates * sizeof(Vector)) {              \
      _Pragma("GCC unroll 14") for (int r = 0; r < 14; ++r) {             \
        _Pragma("GCC unroll 8") for (int i = 0; i < kStates; ++i) {       \
          state[i] = Round(state[i], key);                                \
        }                                                                 \
      }                                                                   \
    }                                                                     \
    for (int i = 0; i < kStates; ++i) asm volatile("" : : "v"(state[i])); \
    return done;                                                          \
  }
ATOLL_AES_ROUNDS(Rounds512, "avx512f,vaes", __m512i, _mm512_set1_epi32, _mm512_aesenc_epi128)
ATOLL_AES_ROUNDS(Rounds256, "avx2,vaes", __m256i, _mm256_set1_epi32, _mm256_aesenc_epi128)
ATOLL_AES_ROUNDS(Rounds128, "aes", __m128i, _mm_set1_epi32, _mm_aesenc_si128)
#undef ATOLL_AES_ROUNDS

#endif

}  // namespace

uint64_t AesRounds(uint64_t bytes) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("vaes") && __builtin_cpu_supports("avx512f")) return Rounds512(bytes);
  if (__builtin_cpu_supports("vaes")) return Rounds256(bytes);
  if (__builtin_cpu_supports("aes")) return Rounds128(bytes);
#endif
  return 0;
}

OpenSslMasks::OpenSslMasks() : context_(EVP_CIPHER_CTX_new()) {}

OpenSslMasks::~OpenSslMasks() { EVP_CIPHER_CTX_free(static_cast<EVP_CIPHER_CTX*>(context_)); }

void OpenSslMasks::Add(std::span<uint8_t> lanes, uint32_t lane_bytes) {
  static constexpr std::array<uint8_t, 16384> kZeros{};
  alignas(64) std::array<uint8_t, kZeros.size()> stream;
  const std::array<uint8_t, 32> key{1, 2, 3};
  const std::array<uint8_t, 16> iv{};
  EVP_CIPHER_CTX* context = static_cast<EVP_CIPHER_CTX*>(context_);
  EVP_EncryptInit_ex(context, EVP_aes_256_ctr(), nullptr, key.data(), iv.data());
  for (size_t done = 0; done < lanes.size(); done += stream.size()) {
    const size_t bytes = std::min(stream.size(), lanes.size() - done);
    int written = 0;
    EVP_EncryptUpdate(context, stream.data(), &written, kZeros.data(), static_cast<int>(bytes));
    // Fields as wide as lanes: the fastest plain addition there is here.
    kernels::AddPacked(std::span(stream).first(bytes), lane_bytes, 8 * lane_bytes,
                       bytes / lane_bytes, lanes.subspan(done, bytes));
  }
}

}  // namespace atl::bench
