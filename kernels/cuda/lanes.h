// Lanes of 1, 2, 4 or 8 bytes in 64-bit words, and their way from and to memory, for the bodies
// that a GPU's threads run. All pointers may be host or device pointers.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/host_device.h"

namespace atl::kernels::cuda {

// The highest bit of every lane of a word.
ATOLL_HOST_DEVICE inline uint64_t HighBits(uint32_t lane_bytes) {
  return lane_bytes == 1   ? 0x8080808080808080
         : lane_bytes == 2 ? 0x8000800080008000
         : lane_bytes == 4 ? 0x8000000080000000
                           : 0x8000000000000000;
}
// Lane by lane: nothing is carried over a lane's highest bit.
ATOLL_HOST_DEVICE inline uint64_t AddLanes(uint64_t a, uint64_t b, uint64_t high) {
  return ((a & ~high) + (b & ~high)) ^ ((a ^ b) & high);
}
ATOLL_HOST_DEVICE inline uint64_t SubtractLanes(uint64_t a, uint64_t b, uint64_t high) {
  return ((a | high) - (b & ~high)) ^ ((a ^ ~b) & high);
}

ATOLL_HOST_DEVICE inline bool IsWordAligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 8 == 0;
}

// Integers at addresses that are multiples of their size.
template <typename Integer>
ATOLL_HOST_DEVICE inline Integer LoadAligned(const uint8_t* p) {
  Integer value;
  memcpy(&value, __builtin_assume_aligned(p, sizeof(Integer)), sizeof(Integer));
  return value;
}
template <typename Integer>
ATOLL_HOST_DEVICE inline void StoreAligned(uint8_t* p, Integer value) {
  memcpy(__builtin_assume_aligned(p, sizeof(Integer)), &value, sizeof(Integer));
}

ATOLL_HOST_DEVICE inline uint64_t LoadLane(const uint8_t* lanes, uint32_t lane_bytes,
                                           uint64_t index) {
  const uint8_t* p = lanes + index * lane_bytes;
  switch (lane_bytes) {
    case 1:
      return *p;
    case 2:
      return LoadAligned<uint16_t>(p);
    case 4:
      return LoadAligned<uint32_t>(p);
    default:
      return LoadAligned<uint64_t>(p);
  }
}
ATOLL_HOST_DEVICE inline void StoreLane(uint8_t* lanes, uint32_t lane_bytes, uint64_t index,
                                        uint64_t value) {
  uint8_t* p = lanes + index * lane_bytes;
  switch (lane_bytes) {
    case 1:
      *p = static_cast<uint8_t>(value);
      return;
    case 2:
      return StoreAligned(p, static_cast<uint16_t>(value));
    case 4:
      return StoreAligned(p, static_cast<uint32_t>(value));
    default:
      return StoreAligned(p, value);
  }
}

// `count` <= 8 bytes as a little-endian word, and back; at once where they are 8 on a word's
// border.
ATOLL_HOST_DEVICE inline uint64_t LoadBytes(const uint8_t* p, uint64_t count) {
  if (count == 8 && IsWordAligned(p)) return LoadAligned<uint64_t>(p);
  uint64_t word = 0;
  for (uint64_t i = 0; i < count; ++i) word |= uint64_t{p[i]} << (8 * i);
  return word;
}
ATOLL_HOST_DEVICE inline void StoreBytes(uint8_t* p, uint64_t count, uint64_t word) {
  if (count == 8 && IsWordAligned(p)) return StoreAligned(p, word);
  for (uint64_t i = 0; i < count; ++i) p[i] = static_cast<uint8_t>(word >> (8 * i));
}

ATOLL_HOST_DEVICE inline uint64_t Least(uint64_t a, uint64_t b) { return a < b ? a : b; }

}  // namespace atl::kernels::cuda
