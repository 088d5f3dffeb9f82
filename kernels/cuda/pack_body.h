// Packing, one thread's part: what PackLanes and AddPacked do, for GPUs. Neighbouring threads write
// neighbouring words or lanes.
#pragma once

#include <cstdint>

#include "kernels/cuda/lanes.h"
#include "kernels/host_device.h"

namespace atl::kernels::cuda {

struct PackTask {
  uint8_t* lanes = nullptr;   // aligned to lane_bytes
  uint8_t* packed = nullptr;  // fastest at multiples of 8 bytes
  uint64_t elements = 0;
  uint32_t lane_bytes = 4;
  uint32_t bits = 0;  // 1 to 8 * lane_bytes

  ATOLL_HOST_DEVICE uint64_t packed_bytes() const { return (elements * bits + 7) / 8; }
  ATOLL_HOST_DEVICE uint64_t packed_words() const { return (packed_bytes() + 7) / 8; }
  ATOLL_HOST_DEVICE uint64_t mask() const { return ~uint64_t{0} >> (64 - bits); }
};

// Words thread, thread + threads, ... of the packed fields.
ATOLL_HOST_DEVICE inline void PackThread(const PackTask& task, uint64_t thread, uint64_t threads) {
  const uint64_t words = task.packed_words(), bytes = task.packed_bytes(), mask = task.mask();
  for (uint64_t w = thread; w < words; w += threads) {
    uint64_t element = 64 * w / task.bits;
    const uint64_t offset = 64 * w % task.bits;  // bits of it that the word before has
    uint64_t word = (LoadLane(task.lanes, task.lane_bytes, element++) & mask) >> offset;
    for (uint64_t filled = task.bits - offset; filled < 64 && element < task.elements;
         filled += task.bits) {
      word |= (LoadLane(task.lanes, task.lane_bytes, element++) & mask) << filled;
    }
    StoreBytes(task.packed + 8 * w, Least(8, bytes - 8 * w), word);
  }
}

// Elements thread, thread + threads, ...: lanes += fields.
ATOLL_HOST_DEVICE inline void AddPackedThread(const PackTask& task, uint64_t thread,
                                              uint64_t threads) {
  const uint64_t bytes = task.packed_bytes(), mask = task.mask();
  for (uint64_t element = thread; element < task.elements; element += threads) {
    const uint64_t bit = element * task.bits, at = bit / 64 * 8, shift = bit % 64;
    uint64_t field = LoadBytes(task.packed + at, Least(8, bytes - at)) >> shift;
    if (shift + task.bits > 64) {
      field |= LoadBytes(task.packed + at + 8, Least(8, bytes - at - 8)) << (64 - shift);
    }
    const uint64_t lane = LoadLane(task.lanes, task.lane_bytes, element);
    StoreLane(task.lanes, task.lane_bytes, element, lane + (field & mask));
  }
}

}  // namespace atl::kernels::cuda
