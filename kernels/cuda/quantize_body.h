// Stochastic rounding, one thread's part: what QuantizeStochastic does, for GPUs, with the same
// random bits.
#pragma once

#include <cstdint>

#include "kernels/cuda/lanes.h"
#include "kernels/cuda/masks_body.h"
#include "kernels/host_device.h"
#include "kernels/stochastic_round.h"

namespace atl::kernels::cuda {

struct QuantizeTask {
  const float* values = nullptr;
  const float* origin = nullptr;
  UnitRange range;                      // of the values' random bits, 4 bytes each
  const Aes256Ctr::Key* key = nullptr;  // of the random bits
  Rounding rounding;
  uint32_t lane_bytes = 4;
  uint8_t* lanes = nullptr;  // aligned to lane_bytes
};

// Units thread, thread + threads, ... of a task: eight values each, fewer in the first and the
// last. Returns the number of saturated values.
ATOLL_HOST_DEVICE inline uint64_t QuantizeThread(const QuantizeTask& task, uint64_t thread,
                                                 uint64_t threads) {
  constexpr uint64_t kUnitValues = 2 * Aes256Ctr::kWords;
  const uint64_t units = task.range.units();
  const uint64_t skip = task.range.skip / 4, count = task.range.bytes / 4;
  uint64_t saturated = 0;
  for (uint64_t unit = thread; unit < units; unit += threads) {
    uint64_t stream[Aes256Ctr::kWords];
    Aes256Ctr::Stream(*task.key, task.range.first_block + 2 * unit, stream);
    const uint64_t start = unit * kUnitValues - skip;  // mod 2^64
    for (uint64_t k = 0; k < kUnitValues; ++k) {
      const uint64_t i = start + k;
      if (i >= count) continue;  // before the first one, too
      const uint32_t random = static_cast<uint32_t>(stream[k / 2] >> (32 * (k % 2)));
      const int64_t integer =
          RoundStochastic(task.values[i] - task.origin[i], random, task.rounding, saturated);
      StoreLane(task.lanes, task.lane_bytes, i, static_cast<uint64_t>(integer));
    }
  }
  return saturated;
}

}  // namespace atl::kernels::cuda
