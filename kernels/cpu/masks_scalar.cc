// The portable kernels: what the fast ones are compared with.
#include <bit>
#include <cstring>

#include "kernels/cpu/aes256.h"
#include "kernels/cpu/mask_kernels.h"
#include "kernels/cpu/stream_range.h"

namespace atl::kernels::cpu {
namespace {

constexpr uint64_t kBatchBlocks = 64;  // amortises the bit-sliced key schedule

struct ScalarAes {
  static constexpr uint64_t kBlockBytes = 16;
  Aes256Schedule schedule;
  uint8_t stream[kBatchBlocks * kBlockBytes];

  void Blocks(uint64_t block, uint64_t blocks, uint8_t* out) {
    for (uint64_t i = 0; i < blocks; ++i) {
      for (int k = 0; k < 8; ++k) {
        out[16 * i + k] = 0;
        out[16 * i + 8 + k] = static_cast<uint8_t>((block + i) >> (8 * (7 - k)));
      }
    }
    EncryptBlocksPortable(schedule, out, out, blocks);
  }
  void Block(uint64_t block, uint8_t* out) { Blocks(block, 1, out); }
  void AddBlocks(uint8_t* lanes, uint64_t block, uint64_t blocks, uint32_t lane_bytes,
                 bool subtract) {
    for (uint64_t done = 0; done < blocks; done += kBatchBlocks) {
      const uint64_t batch = blocks - done < kBatchBlocks ? blocks - done : kBatchBlocks;
      Blocks(block + done, batch, stream);
      AddStream(lanes + done * kBlockBytes, stream, batch * kBlockBytes, lane_bytes, subtract);
    }
  }
};

struct ScalarChaCha20 {
  static constexpr uint64_t kBlockBytes = 64;
  const uint8_t* key;

  void Block(uint64_t block, uint8_t* out) { ChaCha20Block(key, block, 0, out); }
  void AddBlocks(uint8_t* lanes, uint64_t block, uint64_t blocks, uint32_t lane_bytes,
                 bool subtract) {
    uint8_t stream[kBlockBytes];
    for (uint64_t i = 0; i < blocks; ++i) {
      Block(block + i, stream);
      AddStream(lanes + i * kBlockBytes, stream, kBlockBytes, lane_bytes, subtract);
    }
    WipeBytes(stream, sizeof(stream));
  }
};

inline void QuarterRound(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
  a += b;
  d = std::rotl(d ^ a, 16);
  c += d;
  b = std::rotl(b ^ c, 12);
  a += b;
  d = std::rotl(d ^ a, 8);
  c += d;
  b = std::rotl(b ^ c, 7);
}

}  // namespace

void ChaCha20Block(const uint8_t* key, uint64_t block, uint64_t nonce, uint8_t* out) {
  uint32_t in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};  // "expand 32-byte k"
  std::memcpy(in + 4, key, 32);
  std::memcpy(in + 12, &block, 8);
  std::memcpy(in + 14, &nonce, 8);
  uint32_t x[16];
  std::memcpy(x, in, sizeof(x));
  for (int round = 0; round < 20; round += 2) {
    for (int i = 0; i < 4; ++i) QuarterRound(x[i], x[4 + i], x[8 + i], x[12 + i]);
    for (int i = 0; i < 4; ++i) {
      QuarterRound(x[i], x[4 + (i + 1) % 4], x[8 + (i + 2) % 4], x[12 + (i + 3) % 4]);
    }
  }
  for (int i = 0; i < 16; ++i) x[i] += in[i];
  std::memcpy(out, x, sizeof(x));
  WipeBytes(in, sizeof(in));
  WipeBytes(x, sizeof(x));
}

void AddAesScalar(const MaskKey& key, const MaskRange& range) {
  ScalarAes cipher;
  ExpandAes256Key(key.key.data(), SubWordPortable, cipher.schedule);
  AddRange(cipher, range, key.subtract);
  WipeBytes(&cipher, sizeof(cipher));
}

void AddChaCha20Scalar(const MaskKey& key, const MaskRange& range) {
  ScalarChaCha20 cipher{key.key.data()};
  AddRange(cipher, range, key.subtract);
}

}  // namespace atl::kernels::cpu
