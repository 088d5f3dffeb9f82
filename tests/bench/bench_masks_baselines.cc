#include "tests/bench/bench_masks_baselines.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace atl::bench {
namespace {

constexpr int kStates = 8;  // independent ones: more than the instruction's latency

#if defined(__x86_64__)

__attribute__((target("avx512f,vaes"))) uint64_t Rounds512(uint64_t bytes) {
  __m512i state[kStates];
  for (int i = 0; i < kStates; ++i) state[i] = _mm512_set1_epi32(i);
  const __m512i key = _mm512_set1_epi32(0x5a5a1234);
  uint64_t done = 0;
  for (; done < bytes; done += kStates * sizeof(__m512i)) {
#pragma GCC unroll 14
    for (int r = 0; r < 14; ++r) {
#pragma GCC unroll 8
      for (int i = 0; i < kStates; ++i) state[i] = _mm512_aesenc_epi128(state[i], key);
    }
  }
  for (int i = 0; i < kStates; ++i) asm volatile("" : : "v"(state[i]));
  return done;
}

__attribute__((target("avx2,vaes"))) uint64_t Rounds256(uint64_t bytes) {
  __m256i state[kStates];
  for (int i = 0; i < kStates; ++i) state[i] = _mm256_set1_epi32(i);
  const __m256i key = _mm256_set1_epi32(0x5a5a1234);
  uint64_t done = 0;
  for (; done < bytes; done += kStates * sizeof(__m256i)) {
#pragma GCC unroll 14
    for (int r = 0; r < 14; ++r) {
#pragma GCC unroll 8
      for (int i = 0; i < kStates; ++i) state[i] = _mm256_aesenc_epi128(state[i], key);
    }
  }
  for (int i = 0; i < kStates; ++i) asm volatile("" : : "x"(state[i]));
  return done;
}

__attribute__((target("aes"))) uint64_t Rounds128(uint64_t bytes) {
  __m128i state[kStates];
  for (int i = 0; i < kStates; ++i) state[i] = _mm_set1_epi32(i);
  const __m128i key = _mm_set1_epi32(0x5a5a1234);
  uint64_t done = 0;
  for (; done < bytes; done += kStates * sizeof(__m128i)) {
#pragma GCC unroll 14
    for (int r = 0; r < 14; ++r) {
#pragma GCC unroll 8
      for (int i = 0; i < kStates; ++i) state[i] = _mm_aesenc_si128(state[i], key);
    }
  }
  for (int i = 0; i < kStates; ++i) asm volatile("" : : "x"(state[i]));
  return done;
}

#endif

template <typename Lane>
void AddLanes(uint8_t* lanes, const uint8_t* stream, size_t bytes) {
  typedef Lane Vector __attribute__((vector_size(16)));
  for (size_t i = 0; i < bytes; i += sizeof(Vector)) {
    Vector a, b;
    std::memcpy(&a, lanes + i, sizeof(a));
    std::memcpy(&b, stream + i, sizeof(b));
    a += b;
    std::memcpy(lanes + i, &a, sizeof(a));
  }
}

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
    uint8_t* out = lanes.data() + done;
    switch (lane_bytes) {
      case 1:
        AddLanes<uint8_t>(out, stream.data(), bytes);
        break;
      case 2:
        AddLanes<uint16_t>(out, stream.data(), bytes);
        break;
      case 4:
        AddLanes<uint32_t>(out, stream.data(), bytes);
        break;
      default:
        AddLanes<uint64_t>(out, stream.data(), bytes);
    }
  }
}

}  // namespace atl::bench
