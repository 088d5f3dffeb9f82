// AES-256 (FIPS 197) without tables: the portable implementation, and the key schedule that all
// share.
//
// Bit-sliced (kernels/aes256_sliced.h). It is the reference of the fast kernels, and what runs on
// CPUs without AES instructions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace atl::kernels::cpu {

struct Aes256Schedule {
  alignas(16) uint8_t round_keys[15][16];
};

// Overwrites with zeros in a way the compiler keeps.
void WipeBytes(void* data, size_t bytes);

// The S-box on each byte of a word.
using SubWord = uint32_t (*)(uint32_t word);
uint32_t SubWordPortable(uint32_t word);

// FIPS 197, section 5.2. `key`: 32 bytes.
void ExpandAes256Key(const uint8_t* key, SubWord sub_word, Aes256Schedule& schedule);

// Encrypts `blocks` blocks of 16 bytes, each by itself (ECB). `in` may be `out`.
void EncryptBlocksPortable(const Aes256Schedule& schedule, const uint8_t* in, uint8_t* out,
                           size_t blocks);

}  // namespace atl::kernels::cpu
