#include "kernels/masks.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "kernels/cpu/mask_kernels.h"

namespace atl::kernels {

static_assert(std::endian::native == std::endian::little, "lanes are little-endian");

namespace {

// With many keys the lanes are gone through block by block, so that a block is loaded into the
// cache once and not once a key. A quarter of the L2 of the smallest machines in use; a key's
// set-up costs 1 % of its stream for such a block.
constexpr uint64_t kCacheBlockBytes = uint64_t{1} << 18;

}  // namespace

void AddMasks(std::span<uint8_t> lanes, uint32_t lane_bytes, uint64_t first_element,
              std::span<const MaskKey> keys, MaskCipher cipher) {
  assert(lane_bytes == 1 || lane_bytes == 2 || lane_bytes == 4 || lane_bytes == 8);
  assert(lanes.size() % lane_bytes == 0);
  const cpu::MaskKernel& kernel = cpu::BestMaskKernel(cipher);
  const uint64_t elements = lanes.size() / lane_bytes;
  const uint64_t block_elements = kCacheBlockBytes / lane_bytes;
  for (uint64_t done = 0; done < elements;) {
    // Blocks end where the segment's blocks of this size end, so that only the first starts inside
    // a cipher block.
    const uint64_t to_boundary = block_elements - (first_element + done) % block_elements;
    const uint64_t count = std::min(elements - done, to_boundary);
    const cpu::MaskRange range{.lanes = lanes.data() + done * lane_bytes,
                               .elements = count,
                               .first_element = first_element + done,
                               .lane_bytes = lane_bytes};
    for (const MaskKey& key : keys) kernel.add(key, range);
    done += count;
  }
}

const char* MaskKernelName(MaskCipher cipher) { return cpu::BestMaskKernel(cipher).name; }

}  // namespace atl::kernels
