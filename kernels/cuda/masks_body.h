// Key streams added to lanes, one thread's part: what AddMasks does, for GPUs.
//
// A unit is so much of the vector as a thread keeps in registers while the streams of all keys are
// added to it, one after the other: the vector is read and written once, whatever the number of
// keys.
#pragma once

#include <cstdint>

#include "kernels/aes256_sliced.h"
#include "kernels/cuda/lanes.h"
#include "kernels/host_device.h"

namespace atl::kernels::cuda {

// AES-256-CTR. No tables: a GPU's caches are shared with whoever else runs on it, and threads of a
// warp that look up different entries wait for each other. Bit-sliced, two blocks a thread.
struct Aes256Ctr {
  struct Key {
    AesPlanes<uint32_t> round[kAes256Rounds + 1];  // each key in both blocks
    uint32_t subtract;
  };
  static constexpr uint64_t kBlockBytes = 16;
  static constexpr int kWords = 4;  // of a unit

  ATOLL_HOST_DEVICE static uint64_t BigEndian(uint64_t x) {
    uint64_t out = 0;
    for (int i = 0; i < 8; ++i) out = out << 8 | (x >> (8 * i) & 0xff);
    return out;
  }
  ATOLL_HOST_DEVICE static void Stream(const Key& key, uint64_t block, uint64_t (&out)[kWords]) {
    const uint64_t counters[kWords] = {0, BigEndian(block), 0, BigEndian(block + 1)};
    AesPlanes<uint32_t> p = ToPlanes<uint32_t>(counters);
    EncryptSliced(key.round, p);
    FromPlanes(p, out);
  }
};

// ChaCha20 (RFC 8439), one block a thread; 64-bit counter, nonce 0.
struct ChaCha20 {
  struct Key {
    uint32_t word[8];
    uint32_t subtract;
  };
  static constexpr uint64_t kBlockBytes = 64;
  static constexpr int kWords = 8;

  ATOLL_HOST_DEVICE static uint32_t Rotate(uint32_t x, int bits) {
    return x << bits | x >> (32 - bits);
  }
  ATOLL_HOST_DEVICE static void QuarterRound(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
    a += b;
    d = Rotate(d ^ a, 16);
    c += d;
    b = Rotate(b ^ c, 12);
    a += b;
    d = Rotate(d ^ a, 8);
    c += d;
    b = Rotate(b ^ c, 7);
  }
  ATOLL_HOST_DEVICE static void Stream(const Key& key, uint64_t block, uint64_t (&out)[kWords]) {
    const uint32_t in[16] = {0x61707865,
                             0x3320646e,
                             0x79622d32,
                             0x6b206574,  // "expand 32-byte k"
                             key.word[0],
                             key.word[1],
                             key.word[2],
                             key.word[3],
                             key.word[4],
                             key.word[5],
                             key.word[6],
                             key.word[7],
                             static_cast<uint32_t>(block),
                             static_cast<uint32_t>(block >> 32),
                             0,
                             0};
    uint32_t x[16];
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
    for (int i = 0; i < kWords; ++i) {
      out[i] = uint64_t{x[2 * i] + in[2 * i]} | uint64_t{x[2 * i + 1] + in[2 * i + 1]} << 32;
    }
  }
};

// Where lanes lie on the units of a stream. Block numbers are computed without the byte offset,
// which may exceed 64 bits.
struct UnitRange {
  uint64_t first_block = 0;
  uint64_t skip = 0;   // bytes of the first unit before the first lane
  uint64_t bytes = 0;  // of all lanes
  uint64_t unit_bytes = 0;

  ATOLL_HOST_DEVICE uint64_t units() const { return (skip + bytes + unit_bytes - 1) / unit_bytes; }
};
template <typename Cipher>
UnitRange UnitsOf(uint64_t first_element, uint64_t elements, uint32_t lane_bytes) {
  const uint64_t block_elements = Cipher::kBlockBytes / lane_bytes;
  return {.first_block = first_element / block_elements,
          .skip = first_element % block_elements * lane_bytes,
          .bytes = elements * lane_bytes,
          .unit_bytes = 8 * Cipher::kWords};
}

template <typename Cipher>
struct MaskTask {
  uint8_t* lanes = nullptr;  // aligned to lane_bytes
  UnitRange range;
  uint32_t lane_bytes = 4;
  const typename Cipher::Key* keys = nullptr;
  uint32_t key_count = 0;
};

// Units thread, thread + threads, ... of a task.
template <typename Cipher>
ATOLL_HOST_DEVICE inline void AddMasksThread(const MaskTask<Cipher>& task, uint64_t thread,
                                             uint64_t threads) {
  constexpr uint64_t kWords = Cipher::kWords;
  const UnitRange& range = task.range;
  const uint64_t units = range.units();
  const uint64_t high = HighBits(task.lane_bytes);
  for (uint64_t unit = thread; unit < units; unit += threads) {
    // Bytes [from, to) of the unit are lanes; byte k of it is byte start + k of all lanes, mod
    // 2^64.
    const uint64_t start = unit * range.unit_bytes - range.skip;
    const uint64_t from = unit == 0 ? range.skip : 0;
    const uint64_t to = Least(range.unit_bytes, range.bytes - start);
    const bool whole = to - from == range.unit_bytes && IsWordAligned(task.lanes + start);
    uint64_t lanes[kWords] = {};
    if (whole) {
      for (uint64_t i = 0; i < kWords; ++i)
        lanes[i] = LoadAligned<uint64_t>(task.lanes + start + 8 * i);
    } else {
      for (uint64_t i = 0; i < kWords; ++i) {
        for (uint64_t k = 8 * i; k < 8 * i + 8; ++k) {
          if (k >= from && k < to) lanes[i] |= uint64_t{task.lanes[start + k]} << (8 * (k % 8));
        }
      }
    }
    for (uint32_t k = 0; k < task.key_count; ++k) {
      uint64_t stream[kWords];
      Cipher::Stream(task.keys[k],
                     range.first_block + unit * (range.unit_bytes / Cipher::kBlockBytes), stream);
      if (task.keys[k].subtract != 0) {
        for (uint64_t i = 0; i < kWords; ++i) lanes[i] = SubtractLanes(lanes[i], stream[i], high);
      } else {
        for (uint64_t i = 0; i < kWords; ++i) lanes[i] = AddLanes(lanes[i], stream[i], high);
      }
    }
    if (whole) {
      for (uint64_t i = 0; i < kWords; ++i) StoreAligned(task.lanes + start + 8 * i, lanes[i]);
    } else {
      for (uint64_t i = 0; i < kWords; ++i) {
        for (uint64_t k = 8 * i; k < 8 * i + 8; ++k) {
          if (k >= from && k < to)
            task.lanes[start + k] = static_cast<uint8_t>(lanes[i] >> (8 * (k % 8)));
        }
      }
    }
  }
}

}  // namespace atl::kernels::cuda
