// The implementations behind AddMasks, each by itself, for the dispatcher, tests and the benchmark.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/masks.h"

namespace atl::kernels::cpu {

// Lanes to which one key's stream is added.
struct MaskRange {
  uint8_t* lanes = nullptr;  // elements * lane_bytes bytes, any alignment
  uint64_t elements = 0;
  uint64_t first_element = 0;  // index in the segment of lanes[0]
  uint32_t lane_bytes = 4;     // 1, 2, 4 or 8
  // What is read next: a kernel may bring so many bytes from there on into the cache while it
  // computes. It reads none of them, and they may end past the memory that is there.
  const uint8_t* next = nullptr;
};

struct MaskKernel {
  const char* name;
  MaskCipher cipher;
  bool (*supported)();  // by this CPU
  void (*add)(const MaskKey& key, const MaskRange& range);
};

// Every implementation compiled in, fastest first in each cipher; the last one of a cipher runs
// everywhere.
std::span<const MaskKernel> MaskKernels();

// The first one that this CPU supports.
const MaskKernel& BestMaskKernel(MaskCipher cipher);

void AddAesScalar(const MaskKey& key, const MaskRange& range);
void AddChaCha20Scalar(const MaskKey& key, const MaskRange& range);

// Block `block` of a key's ChaCha20 stream: 64 bytes (RFC 8439, section 2.3, with a 64-bit counter
// in words 12 and 13 and the low 32 bits of `nonce` in word 14, the high ones in word 15; streams
// of masks have nonce 0).
void ChaCha20Block(const uint8_t* key, uint64_t block, uint64_t nonce, uint8_t* out);

#if defined(__x86_64__)
void AddAesVaes512(const MaskKey& key, const MaskRange& range);
void AddAesVaes256(const MaskKey& key, const MaskRange& range);
void AddAesNi(const MaskKey& key, const MaskRange& range);
uint32_t SubWordAesNi(uint32_t word);  // only where the CPU has AES-NI
void AddChaCha20Avx512(const MaskKey& key, const MaskRange& range);
void AddChaCha20Avx2(const MaskKey& key, const MaskRange& range);
#endif

}  // namespace atl::kernels::cpu
