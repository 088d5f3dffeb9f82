#include "kernels/cuda/tasks.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/cpu/aes256.h"
#include "kernels/cpu/quantize_kernels.h"

namespace atl::kernels::cuda {

Grid GridFor(uint64_t items) {
  const uint64_t blocks = items / kBlockThreads + (items % kBlockThreads != 0 ? 1 : 0);
  return {.blocks = static_cast<uint32_t>(std::min<uint64_t>(blocks, kMaxBlocks)),
          .threads = kBlockThreads};
}

void MakeKey(const MaskKey& key, Aes256Ctr::Key& out) {
  cpu::Aes256Schedule schedule;
  cpu::ExpandAes256Key(key.key.data(), cpu::SubWordPortable, schedule);
  uint64_t words[Aes256Ctr::kWords];
  for (int r = 0; r <= kAes256Rounds; ++r) {
    std::memcpy(words, schedule.round_keys[r], 16);
    std::memcpy(words + 2, schedule.round_keys[r], 16);
    out.round[r] = ToPlanes<uint32_t>(words);
  }
  out.subtract = key.subtract ? 1 : 0;
  cpu::WipeBytes(&schedule, sizeof(schedule));
  cpu::WipeBytes(words, sizeof(words));
}

void MakeKey(const MaskKey& key, ChaCha20::Key& out) {
  std::memcpy(out.word, key.key.data(), sizeof(out.word));
  out.subtract = key.subtract ? 1 : 0;
}

template <typename Cipher>
void HostKeys<Cipher>::Wipe(void* data, size_t bytes) {
  cpu::WipeBytes(data, bytes);
}
template class HostKeys<Aes256Ctr>;
template class HostKeys<ChaCha20>;

QuantizeTask MakeQuantizeTask(const DeviceUpdate& update, const QuantizeOptions& options,
                              const Aes256Ctr::Key* key, const DeviceLanes& lanes) {
  assert(options.lane_bytes == lanes.lane_bytes);
  return {.values = update.values,
          .origin = update.origin,
          .range = UnitsOf<Aes256Ctr>(options.first_element, lanes.elements, sizeof(uint32_t)),
          .key = key,
          .rounding = {options.factor, options.bound, cpu::FloorToDouble(options.bound)},
          .lane_bytes = lanes.lane_bytes,
          .lanes = lanes.data};
}

}  // namespace atl::kernels::cuda
