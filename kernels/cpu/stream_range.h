// How a range of lanes falls on the blocks of a key stream: shared by all mask kernels.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/aes256.h"
#include "kernels/cpu/mask_kernels.h"

namespace atl::kernels::cpu {

template <typename Lane>
inline void AddStreamLanes(uint8_t* lanes, const uint8_t* stream, uint64_t bytes, bool subtract) {
  for (uint64_t i = 0; i < bytes; i += sizeof(Lane)) {
    Lane lane, mask;
    std::memcpy(&lane, lanes + i, sizeof(Lane));
    std::memcpy(&mask, stream + i, sizeof(Lane));
    lane = static_cast<Lane>(subtract ? lane - mask : lane + mask);
    std::memcpy(lanes + i, &lane, sizeof(Lane));
  }
}

// lanes += or -= stream, `bytes` bytes of lanes of lane_bytes. For little-endian machines.
inline void AddStream(uint8_t* lanes, const uint8_t* stream, uint64_t bytes, uint32_t lane_bytes,
                      bool subtract) {
  switch (lane_bytes) {
    case 1:
      return AddStreamLanes<uint8_t>(lanes, stream, bytes, subtract);
    case 2:
      return AddStreamLanes<uint16_t>(lanes, stream, bytes, subtract);
    case 4:
      return AddStreamLanes<uint32_t>(lanes, stream, bytes, subtract);
    default:
      return AddStreamLanes<uint64_t>(lanes, stream, bytes, subtract);
  }
}

// Splits `range` into a head inside a block, whole blocks, and a tail inside a block. Cipher:
//   static constexpr uint64_t kBlockBytes;
//   void Block(uint64_t block, uint8_t* out)            one block of the stream
//   void AddBlocks(uint8_t* lanes, uint64_t block, uint64_t blocks, uint32_t lane_bytes, bool
//   subtract)
// No lane lies across two blocks. Block numbers are computed without the byte offset, which may
// exceed 64 bits.
template <typename Cipher>
inline void AddRange(Cipher& cipher, const MaskRange& range, bool subtract) {
  constexpr uint64_t kBlock = Cipher::kBlockBytes;
  const uint64_t block_elements = kBlock / range.lane_bytes;
  uint64_t block = range.first_element / block_elements;
  const uint64_t skip = range.first_element % block_elements * range.lane_bytes;
  uint8_t* lanes = range.lanes;
  uint64_t bytes = range.elements * range.lane_bytes;
  uint8_t stream[kBlock];
  if (skip != 0) {
    const uint64_t head = bytes < kBlock - skip ? bytes : kBlock - skip;
    cipher.Block(block++, stream);
    AddStream(lanes, stream + skip, head, range.lane_bytes, subtract);
    lanes += head;
    bytes -= head;
  }
  const uint64_t blocks = bytes / kBlock;
  if (blocks != 0) cipher.AddBlocks(lanes, block, blocks, range.lane_bytes, subtract);
  const uint64_t tail = bytes % kBlock;
  if (tail != 0) {
    cipher.Block(block + blocks, stream);
    AddStream(lanes + blocks * kBlock, stream, tail, range.lane_bytes, subtract);
  }
  WipeBytes(stream, sizeof(stream));
}

}  // namespace atl::kernels::cpu
