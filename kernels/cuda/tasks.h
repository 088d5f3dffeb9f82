// From the arguments of the CPU's functions to what the GPU's threads take: grids, tasks, keys.
// Plain host code, so that it is built and tested where there is no CUDA.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/masks_body.h"
#include "kernels/cuda/pack_body.h"
#include "kernels/cuda/quantize_body.h"
#include "kernels/masks.h"
#include "kernels/quantize.h"

namespace atl::kernels::cuda {

// Threads for so many units, words or lanes. Each takes every (blocks * threads)-th of them, so
// that a grid within the limits covers any number once.
struct Grid {
  uint32_t blocks = 0;   // 0: nothing to do, and no launch
  uint32_t threads = 0;  // of a block
  uint64_t total() const { return uint64_t{blocks} * threads; }
};
inline constexpr uint32_t kBlockThreads = 128;
inline constexpr uint32_t kMaxBlocks = 1 << 16;
Grid GridFor(uint64_t items);

// A key in the form the threads take it; to be wiped after use.
void MakeKey(const MaskKey& key, Aes256Ctr::Key& out);
void MakeKey(const MaskKey& key, ChaCha20::Key& out);

// Wiped on destruction; never moved, so that no copy is left behind.
template <typename Cipher>
class HostKeys {
 public:
  explicit HostKeys(std::span<const MaskKey> keys) : keys_(keys.size()) {
    for (size_t i = 0; i < keys.size(); ++i) MakeKey(keys[i], keys_[i]);
  }
  ~HostKeys() { Wipe(keys_.data(), bytes()); }
  HostKeys(const HostKeys&) = delete;
  HostKeys& operator=(const HostKeys&) = delete;
  const typename Cipher::Key* data() const { return keys_.data(); }
  uint32_t size() const { return static_cast<uint32_t>(keys_.size()); }
  size_t bytes() const { return keys_.size() * sizeof(typename Cipher::Key); }

 private:
  static void Wipe(void* data, size_t bytes);
  std::vector<typename Cipher::Key> keys_;
};

// Device memory and what of it is meant; see masks.h, quantize.h and pack.h of the CPU.
struct DeviceLanes {
  uint8_t* data = nullptr;  // aligned to lane_bytes; fastest at multiples of 8
  uint64_t elements = 0;
  uint32_t lane_bytes = 4;
};
struct DeviceUpdate {
  const float* values = nullptr;
  const float* origin = nullptr;
};

template <typename Cipher>
MaskTask<Cipher> MakeMaskTask(const DeviceLanes& lanes, uint64_t first_element,
                              const typename Cipher::Key* keys, uint32_t key_count) {
  return {.lanes = lanes.data,
          .range = UnitsOf<Cipher>(first_element, lanes.elements, lanes.lane_bytes),
          .lane_bytes = lanes.lane_bytes,
          .keys = keys,
          .key_count = key_count};
}

// options.lane_bytes is lanes.lane_bytes.
QuantizeTask MakeQuantizeTask(const DeviceUpdate& update, const QuantizeOptions& options,
                              const Aes256Ctr::Key* key, const DeviceLanes& lanes);

}  // namespace atl::kernels::cuda
