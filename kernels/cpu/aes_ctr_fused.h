// AES-256-CTR added to lanes in one pass, for any vector width with AES instructions. Included by
// one source file for each instruction set, which first defines ATOLL_KERNEL_TARGET, the function
// attribute that all code here is compiled with, and then a type `Simd` in its unnamed namespace:
//   using V = a vector of kBlocks AES blocks
//   Load(p), Store(p, v)              unaligned
//   Repeat(p)                         the 16 bytes at p in every block
//   Xor(v, v), And(v, v), Add64(v, v)
//   Reverse(v)                        the bytes of each block
//   Round(state, key), LastRound(state, key)
//   Add<lane_bytes>(v, v), Sub<lane_bytes>(v, v)
//
// Counter blocks that differ in the last byte only need 12 rounds of their own, not 14: after two
// rounds a state is the sum (xor) of a part that depends on that byte and a part that depends on
// the others. The first is made once a key, for all 256 bytes, the second once in 256 blocks (Park
// and Lee, "FACE: Fast AES CTR mode encryption techniques based on the reuse of repetitive data",
// TCHES 2018). The byte is the public counter's: the table's index is no secret.
#pragma once

#include <cstdint>

#include "kernels/cpu/aes256.h"
#include "kernels/cpu/stream_range.h"

namespace atl::kernels::cpu {

// Masks of a column, and bytes that the S-box turns to zero (0x52), which add nothing to the next
// state.
inline constexpr uint8_t kColumn0[16] = {0xff, 0xff, 0xff, 0xff};
inline constexpr uint8_t kColumn0Silent[16] = {0x52, 0x52, 0x52, 0x52};
inline constexpr uint8_t kOthers[16] = {0,    0,    0,    0,    0xff, 0xff, 0xff, 0xff,
                                        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
inline constexpr uint8_t kOthersSilent[16] = {0,    0,    0,    0,    0x52, 0x52, 0x52, 0x52,
                                              0x52, 0x52, 0x52, 0x52, 0x52, 0x52, 0x52, 0x52};

template <typename Simd>
struct FusedAesCtr {
  using V = typename Simd::V;
  static constexpr uint64_t kBlockBytes = 16;
  static constexpr uint64_t kWidth = Simd::kBlocks;
  static constexpr uint64_t kGroup = 256;  // blocks whose counters differ in the last byte only
  static constexpr uint64_t kTableBlocks = 2048;  // from this many blocks on the table pays
  static constexpr uint64_t kTablePeriod = uint64_t{1} << 40;  // blocks of one table

  // The kernel takes its time for each line, so that memory can be ahead of it, also over the end
  // of a page, where the CPU's own prefetcher stops: a vector in memory is masked as fast as one in
  // the cache.
  static constexpr uint64_t kPrefetchBytes = 4096;

  uintptr_t ahead = kPrefetchBytes;  // from the lanes at work to the line that is fetched
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

  // The state after one round. Column 0 depends on bytes 0, 5, 10 and 15 of the counter block, of
  // which 0 and 5 are always zero and 10 is the same for 2^40 blocks; the other columns depend on
  // the other bytes.
  ATOLL_KERNEL_TARGET inline V FirstRound(V counters) const {
    return Simd::Round(Simd::Xor(Simd::Reverse(counters), Key(0)), Key(1));
  }

  // For each last byte, what column 0 adds to the state after two rounds, without the round key.
  ATOLL_KERNEL_TARGET void MakeTable(uint64_t block) {
    const V column0 = Simd::Repeat(kColumn0);
    const V silent = Simd::Repeat(kOthersSilent);
    const V no_key = Simd::Xor(column0, column0);
    const V step = Step();
    V counters = Counters(block - block % kGroup);
    for (uint64_t i = 0; i < kGroup; i += kWidth) {
      const V s = Simd::Xor(Simd::And(FirstRound(counters), column0), silent);
      Simd::Store(table + i * kBlockBytes, Simd::Round(s, no_key));
      counters = Simd::Add64(counters, step);
    }
  }

  // What the other columns and the round key add: the same for all blocks of a group.
  ATOLL_KERNEL_TARGET inline V GroupPart(uint64_t block) const {
    const V s = Simd::And(FirstRound(Counters(block)), Simd::Repeat(kOthers));
    return Simd::Round(Simd::Xor(s, Simd::Repeat(kColumn0Silent)), Key(2));
  }

  // Whole groups, from the table. `block` is a multiple of kGroup.
  template <uint32_t kLane, bool kSubtract>
  ATOLL_KERNEL_TARGET __attribute__((noinline)) void AddGroups(uint8_t* lanes, uint64_t block,
                                                               uint64_t groups) {
    constexpr uint64_t kVector = kWidth * kBlockBytes;
    for (; groups != 0; --groups, block += kGroup) {
      const V group = GroupPart(block);
      const auto fetched = reinterpret_cast<uintptr_t>(lanes) + ahead;
      for (uint64_t i = 0; i < kGroup * kBlockBytes; i += 8 * kVector, lanes += 8 * kVector) {
        for (uint64_t k = i; k < i + 8 * kVector; k += 64) {
          __builtin_prefetch(reinterpret_cast<const void*>(fetched + k));
        }
        V s[8];
#pragma GCC unroll 8
        for (int k = 0; k < 8; ++k) s[k] = Simd::Xor(group, Simd::Load(table + i + k * kVector));
#pragma GCC unroll 14
        for (int r = 3; r < 14; ++r) {
          const V key = Key(r);
#pragma GCC unroll 8
          for (int k = 0; k < 8; ++k) s[k] = Simd::Round(s[k], key);
        }
        const V last = Key(14);
#pragma GCC unroll 8
        for (int k = 0; k < 8; ++k) {
          Apply<kLane, kSubtract>(lanes + k * kVector, Simd::LastRound(s[k], last));
        }
      }
    }
  }

  template <uint32_t kLane, bool kSubtract>
  void AddLanes(uint8_t* lanes, uint64_t block, uint64_t blocks) {
    if (blocks >= kTableBlocks) {
      const uint64_t head = (kGroup - block % kGroup) % kGroup;
      AddPlain<kLane, kSubtract>(lanes, block, head);
      lanes += head * kBlockBytes;
      block += head;
      blocks -= head;
      while (blocks >= kGroup) {
        const uint64_t same_table = kTablePeriod - block % kTablePeriod;
        const uint64_t most = blocks < same_table ? blocks : same_table;
        const uint64_t groups = most / kGroup;
        MakeTable(block);
        AddGroups<kLane, kSubtract>(lanes, block, groups);
        lanes += groups * kGroup * kBlockBytes;
        block += groups * kGroup;
        blocks -= groups * kGroup;
      }
    }
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
  if (range.next != nullptr) {
    cipher.ahead =
        reinterpret_cast<uintptr_t>(range.next) - reinterpret_cast<uintptr_t>(range.lanes);
  }
  ExpandAes256Key(key.key.data(), SubWordAesNi, cipher.schedule);
  AddRange(cipher, range, key.subtract);
  WipeBytes(&cipher, sizeof(cipher));
}

}  // namespace atl::kernels::cpu
