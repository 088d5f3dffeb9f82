// ChaCha20 (RFC 8439) added to lanes in one pass, one block in each 32-bit lane of the vectors.
// Included by one source file for each instruction set, which first defines ATOLL_KERNEL_TARGET,
// the function attribute that all code here is compiled with, and then a type `Simd` in its unnamed
// namespace:
//   using V = a vector of kBlocks 32-bit words
//   Load(p), Store(p, v)              unaligned
//   Fill(word), Add32(v, v), Xor(v, v), Rotate<bits>(v)
//   Transpose(x)                      from x[i] = word i of every block to the blocks one after the
//   other Add<lane_bytes>(v, v), Sub<lane_bytes>(v, v)
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/aes256.h"
#include "kernels/cpu/stream_range.h"

namespace atl::kernels::cpu {

template <typename Simd>
struct FusedChaCha20 {
  using V = typename Simd::V;
  static constexpr uint64_t kBlockBytes = 64;
  static constexpr uint64_t kWidth = Simd::kBlocks;
  static constexpr uint64_t kBatchBytes = kWidth * kBlockBytes;

  const uint8_t* key;

  ATOLL_KERNEL_TARGET static inline void QuarterRound(V& a, V& b, V& c, V& d) {
    a = Simd::Add32(a, b);
    d = Simd::template Rotate<16>(Simd::Xor(d, a));
    c = Simd::Add32(c, d);
    b = Simd::template Rotate<12>(Simd::Xor(b, c));
    a = Simd::Add32(a, b);
    d = Simd::template Rotate<8>(Simd::Xor(d, a));
    c = Simd::Add32(c, d);
    b = Simd::template Rotate<7>(Simd::Xor(b, c));
  }

  // The stream of kWidth blocks from `block` on, in x[0], x[1], ...
  ATOLL_KERNEL_TARGET inline void Batch(uint64_t block, V (&x)[16]) const {
    alignas(64) uint32_t low[kWidth], high[kWidth];
    for (uint64_t i = 0; i < kWidth; ++i) {
      low[i] = static_cast<uint32_t>(block + i);
      high[i] = static_cast<uint32_t>((block + i) >> 32);
    }
    V in[16];
    constexpr uint32_t kConstants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) in[i] = Simd::Fill(kConstants[i]);  // "expand 32-byte k"
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      uint32_t word;
      std::memcpy(&word, key + 4 * i, sizeof(word));
      in[4 + i] = Simd::Fill(word);
    }
    in[12] = Simd::Load(low);
    in[13] = Simd::Load(high);
    in[14] = in[15] = Simd::Fill(0);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) x[i] = in[i];
    for (int round = 0; round < 20; round += 2) {
      QuarterRound(x[0], x[4], x[8], x[12]);
      QuarterRound(x[1], x[5], x[9], x[13]);
      QuarterRound(x[2], x[6], x[10], x[14]);
      QuarterRound(x[3], x[7], x[11], x[15]);
      QuarterRound(x[0], x[5], x[10], x[15]);
      QuarterRound(x[1], x[6], x[11], x[12]);
      QuarterRound(x[2], x[7], x[8], x[13]);
      QuarterRound(x[3], x[4], x[9], x[14]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) x[i] = Simd::Add32(x[i], in[i]);
    Simd::Transpose(x);
  }

  void Block(uint64_t block, uint8_t* out) const { ChaCha20Block(key, block, 0, out); }

  template <uint32_t kLane, bool kSubtract>
  ATOLL_KERNEL_TARGET __attribute__((noinline)) void AddLanes(uint8_t* lanes, uint64_t block,
                                                              uint64_t blocks) const {
    V x[16];
    for (; blocks >= kWidth; blocks -= kWidth, block += kWidth, lanes += kBatchBytes) {
      Batch(block, x);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        uint8_t* p = lanes + i * sizeof(V);
        if constexpr (kSubtract) {
          Simd::Store(p, Simd::template Sub<kLane>(Simd::Load(p), x[i]));
        } else {
          Simd::Store(p, Simd::template Add<kLane>(Simd::Load(p), x[i]));
        }
      }
    }
    if (blocks == 0) return;
    alignas(64) uint8_t stream[kBatchBytes];
    Batch(block, x);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) Simd::Store(stream + i * sizeof(V), x[i]);
    AddStream(lanes, stream, blocks * kBlockBytes, kLane, kSubtract);
    WipeBytes(stream, sizeof(stream));
  }

  template <uint32_t kLane>
  void AddOrSubtract(uint8_t* lanes, uint64_t block, uint64_t blocks, bool subtract) const {
    if (subtract) {
      AddLanes<kLane, true>(lanes, block, blocks);
    } else {
      AddLanes<kLane, false>(lanes, block, blocks);
    }
  }

  void AddBlocks(uint8_t* lanes, uint64_t block, uint64_t blocks, uint32_t lane_bytes,
                 bool subtract) const {
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
inline void AddChaCha20Fused(const MaskKey& key, const MaskRange& range) {
  FusedChaCha20<Simd> cipher{key.key.data()};
  AddRange(cipher, range, key.subtract);
}

}  // namespace atl::kernels::cpu
