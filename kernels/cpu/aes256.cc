#include "kernels/cpu/aes256.h"

#include <bit>
#include <cstring>

#include "kernels/aes256_sliced.h"

namespace atl::kernels::cpu {
namespace {

using Planes = AesPlanes<uint64_t>;
constexpr size_t kBatch = 64;  // bytes in a set of planes: four blocks

Planes Load(const uint8_t* bytes) {
  uint64_t words[kBatch / 8];
  std::memcpy(words, bytes, kBatch);
  const Planes planes = ToPlanes<uint64_t>(words);
  WipeBytes(words, kBatch);
  return planes;
}

void Store(const Planes& planes, uint8_t* bytes) {
  uint64_t words[kBatch / 8];
  FromPlanes(planes, words);
  std::memcpy(bytes, words, kBatch);
  WipeBytes(words, kBatch);
}

uint32_t LoadWord(const uint8_t* p) {
  return uint32_t{p[0]} | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24;
}

}  // namespace

void WipeBytes(void* data, size_t bytes) {
  std::memset(data, 0, bytes);
  asm volatile("" : : "r"(data) : "memory");
}

uint32_t SubWordPortable(uint32_t word) {
  uint8_t bytes[kBatch] = {};
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<uint8_t>(word >> (8 * i));
  Planes p = Load(bytes);
  SubBytes(p);
  Store(p, bytes);
  const uint32_t out = LoadWord(bytes);
  WipeBytes(&p, sizeof(p));
  WipeBytes(bytes, sizeof(bytes));
  return out;
}

void ExpandAes256Key(const uint8_t* key, SubWord sub_word, Aes256Schedule& schedule) {
  constexpr int kKeyWords = 8, kWords = 4 * (kAes256Rounds + 1);
  uint32_t w[kWords];
  for (int i = 0; i < kKeyWords; ++i) w[i] = LoadWord(key + 4 * i);
  for (int i = kKeyWords; i < kWords; ++i) {
    uint32_t t = w[i - 1];
    if (i % kKeyWords == 0) {
      t = std::rotr(sub_word(t), 8) ^ (uint32_t{1} << (i / kKeyWords - 1));
    } else if (i % kKeyWords == 4) {
      t = sub_word(t);
    }
    w[i] = w[i - kKeyWords] ^ t;
  }
  for (int i = 0; i < kWords; ++i) {
    for (int k = 0; k < 4; ++k) {
      schedule.round_keys[i / 4][4 * (i % 4) + k] = static_cast<uint8_t>(w[i] >> (8 * k));
    }
  }
  WipeBytes(w, sizeof(w));
}

void EncryptBlocksPortable(const Aes256Schedule& schedule, const uint8_t* in, uint8_t* out,
                           size_t blocks) {
  Planes keys[kAes256Rounds + 1];
  uint8_t batch[kBatch];
  for (int r = 0; r <= kAes256Rounds; ++r) {
    for (size_t i = 0; i < kBatch; i += 16) std::memcpy(batch + i, schedule.round_keys[r], 16);
    keys[r] = Load(batch);
  }
  Planes p;
  for (size_t done = 0; done < blocks * 16; done += kBatch) {
    const size_t bytes = blocks * 16 - done < kBatch ? blocks * 16 - done : kBatch;
    std::memcpy(batch, in + done, bytes);
    p = Load(batch);
    EncryptSliced(keys, p);
    Store(p, batch);
    std::memcpy(out + done, batch, bytes);
  }
  WipeBytes(keys, sizeof(keys));
  WipeBytes(&p, sizeof(p));
  WipeBytes(batch, sizeof(batch));
}

}  // namespace atl::kernels::cpu
