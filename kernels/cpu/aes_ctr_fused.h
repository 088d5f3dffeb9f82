// AES-256-CTR added to lanes in one pass, for any vector width with AES instructions. Included by
// one source file for each instruction set, which first defines ATOLL_KERNEL_TARGET, the function
// attribute that all code here is compiled with, and then a type `Simd` in its unnamed namespace:
//   using V = a vector of kBlocks AES blocks
//   Load(p), Store(p, v)              unaligned
//   Repeat(p)                         the 16 bytes at p in every block
//   Xor, Add64(v, v), Reverse(v)      the latter reverses the bytes of each block
//   Round(state, key), LastRound(state, key)
//   Add<lane_bytes>(v, v), Sub<lane_bytes>(v, v)
//
// A round less is possible twice: neighbouring counter blocks differ in their last byte only, so
// that after two rounds a state is the sum (xor) of a part that depends on that byte and one that
// depends on the others. The first part is made once a key, for all 256 bytes, and the second once
// in 256 blocks: 12 rounds a block instead of 14. (Park and Lee, "FACE: Fast AES CTR mode
// encryption techniques", TCHES 2018.) The byte is the public counter's, so the table's index is no
// secret.
#pragma once

#include <cstdint>

#include "kernels/cpu/aes256.h"
#include "kernels/cpu/stream_range.h"

namespace atoll::kernels::cpu {

template <typename Simd>
struct FusedAesCtr {
  using V = typename Simd::V;
  static constexpr uint64_t kBlockBytes = 16;
  static constexpr uint64_t kWidth = Simd::kBlocks;
  static constexpr uint64_t kGroup =
      256;  // blocks that differ in the last byte of the counter only
  static constexpr uint64_t kTableBlocks = 2048;  // from so many blocks on the table pays
  static constexpr uint64_t kColumnPeriod = uint64_t{1}
                                            << 40;  // blocks that have byte 10 in common too

  Aes256Schedule schedule;
  alignas(64) uint8_t table[kGroup * kBlockBytes];

  ATOLL_KERNEL_TARGET static inline V Counters(uint64_t block) {
    alignas(64) uint64_t count[2 * kWidth];
    for (uint64_t i = 0; i < kWidth; ++i) {
      count[2 * i] = block + i;
      count[2 * i + 1] = 0;
    }
    return Simd::Load(count);
  }

  ATOLL_KERNEL_TARGET static inline V Step() {
    alignas(64) uint64_t count[2 * kWidth];
    for (uint64_t i = 0; i < kWidth; ++i) {
      count[2 * i] = kWidth;
      count[2 * i + 1] = 0;
    }
    return Simd::Load(count);
  }

  ATOLL_KERNEL_TARGET inline V Key(int round) const {
    return Simd::Repeat(schedule.round_keys[round]);
  }

  ATOLL_KERNEL_TARGET inline V Encrypt(V counters) const {
    V s = Simd::Xor(Simd::Reverse(counters), Key(0));
    for (int r = 1; r < 14; ++r) s = Simd::Round(s, Key(r));
    return Simd::LastRound(s, Key(14));
  }

  template <uint32_t kLane, bool kSubtract>
  ATOLL_KERNEL_TARGET static inline void Apply(uint8_t* lanes, V stream) {
    const V old = Simd::Load(lanes);
    if constexpr (kSubtract) {
      Simd::Store(lanes, Simd::template Sub<kLane>(old, stream));
    } else {
      Simd::Store(lanes, Simd::template Add<kLane>(old, stream));
    }
  }

  ATOLL_KERNEL_TARGET void Block(uint64_t block, uint8_t* out) {
    alignas(64) uint8_t vector[kWidth * kBlockBytes];
    Simd::Store(vector, Encrypt(Counters(block)));
    for (uint64_t i = 0; i < kBlockBytes; ++i) out[i] = vector[i];
    WipeBytes(vector, sizeof(vector));
  }

  // Eight vectors at a time, all 14 rounds; then vectors; then the blocks that do not fill one.
  template <uint32_t kLane, bool kSubtract>
  ATOLL_KERNEL_TARGET __attribute__((noinline)) void AddPlain(uint8_t* lanes, uint64_t block,
                                                              uint64_t blocks) {
    constexpr uint64_t kVector = kWidth * kBlockBytes;
    V counters = Counters(block);
    const V step = Step();
    while (blocks >= 8 * kWidth) {
      V s[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        s[i] = Simd::Xor(Simd::Reverse(counters), Key(0));
        counters = Simd::Add64(counters, step);
      }
#pragma GCC unroll 14
      for (int r = 1; r < 14; ++r) {
        const V key = Key(r);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) s[i] = Simd::Round(s[i], key);
      }
      const V last = Key(14);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        Apply<kLane, kSubtract>(lanes + i * kVector, Simd::LastRound(s[i], last));
      }
      lanes += 8 * kVector;
      block += 8 * kWidth;
      blocks -= 8 * kWidth;
    }
    for (; blocks >= kWidth; blocks -= kWidth, block += kWidth, lanes += kVector) {
      Apply<kLane, kSubtract>(lanes, Encrypt(counters));
      counters = Simd::Add64(counters, step);
    }
    if (blocks == 0) return;
    alignas(64) uint8_t stream[kVector];
    Simd::Store(stream, Encrypt(counters));
    AddStream(lanes, stream, blocks * kBlockBytes, kLane, kSubtract);
    WipeBytes(stream, sizeof(stream));
  }

  template <uint32_t kLane, bool kSubtract>
  ATOLL_KERNEL_TARGET void AddLanes(uint8_t* lanes, uint64_t block, uint64_t blocks) {
    AddPlain<kLane, kSubtract>(lanes, block, blocks);
  }

  template <uint32_t kLane>
  void AddOrSubtract(uint8_t* lanes, uint64_t block, uint64_t blocks, bool subtract) {
    if (subtract) {
      AddLanes<kLane, true>(lanes, block, blocks);
    } else {
      AddLanes<kLane, false>(lanes, block, blocks);
    }
  }

  void AddBlocks(uint8_t* lanes, uint64_t block, uint64_t blocks, uint32_t lane_bytes,
                 bool subtract) {
    switch (lane_bytes) {
      case 1:
        return AddOrSubtract<1>(lanes, block, blocks, subtract);
      case 2:
        return AddOrSubtract<2>(lanes, block, blocks, subtract);
      case 4:
        return AddOrSubtract<4>(lanes, block, blocks, subtract);
      default:
        return AddOrSubtract<8>(lanes, block, blocks, subtract);
    }
  }
};

template <typename Simd>
inline void AddAesFused(const MaskKey& key, const MaskRange& range) {
  FusedAesCtr<Simd> cipher;
  ExpandAes256Key(key.key.data(), SubWordAesNi, cipher.schedule);
  AddRange(cipher, range, key.subtract);
  WipeBytes(&cipher, sizeof(cipher));
}

}  // namespace atoll::kernels::cpu
