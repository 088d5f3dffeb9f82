#include "kernels/masks.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "kernels/cpu/mask_kernels.h"
#include "kernels/pack.h"

namespace atl::kernels {

static_assert(std::endian::native == std::endian::little, "lanes are little-endian");

namespace {

// With many keys the lanes are gone through block by block, so that a block is loaded into the
// cache once and not once a key. A quarter of the L2 of the smallest machines in use; a key's
// set-up costs 1 % of its stream for such a block.
constexpr uint64_t kCacheBlockBytes = uint64_t{1} << 18;

using PackedVectors = std::span<const std::span<const uint8_t>>;

// One block of lanes: where it begins in the packed vectors, and how to add to it.
struct Block {
  cpu::MaskRange range;
  uint32_t sum_bits = 0;
  uint64_t packed_offset = 0;

  void Add(std::span<const uint8_t> vector) const {
    AddPacked(vector.subspan(packed_offset), range.lane_bytes, sum_bits, range.elements,
              {range.lanes, range.elements * range.lane_bytes});
  }

  // Vectors and streams as evenly mixed as they can be.
  void Add(PackedVectors vectors, std::span<const MaskKey> keys,
           const cpu::MaskKernel& kernel) const {
    size_t added = 0;
    const uint8_t* fetched = nullptr;
    for (size_t k = 0; k < keys.size(); ++k) {
      cpu::MaskRange turn = range;
      if (added < vectors.size() && fetched != vectors[added].data()) {
        fetched = vectors[added].data();
        turn.next = fetched + packed_offset;
      }
      kernel.add(keys[k], turn);
      while (added * keys.size() < (k + 1) * vectors.size()) Add(vectors[added++]);
    }
    while (added < vectors.size()) Add(vectors[added++]);
  }
};

}  // namespace

void AddVectorsAndMasks(std::span<uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
                        uint64_t first_element, PackedVectors vectors,
                        std::span<const MaskKey> keys, MaskCipher cipher) {
  assert(lane_bytes == 1 || lane_bytes == 2 || lane_bytes == 4 || lane_bytes == 8);
  assert(lanes.size() % lane_bytes == 0);
  assert(vectors.empty() || first_element % 8 == 0);
  const cpu::MaskKernel& kernel = cpu::BestMaskKernel(cipher);
  const uint64_t elements = lanes.size() / lane_bytes;
  const uint64_t block_elements = kCacheBlockBytes / lane_bytes;
  for (uint64_t done = 0; done < elements;) {
    // Blocks end where the segment's blocks of this size end, so that only the first starts inside
    // a cipher block.
    const uint64_t to_boundary = block_elements - (first_element + done) % block_elements;
    const uint64_t count = std::min(elements - done, to_boundary);
    const Block block{.range = {.lanes = lanes.data() + done * lane_bytes,
                                .elements = count,
                                .first_element = first_element + done,
                                .lane_bytes = lane_bytes},
                      .sum_bits = sum_bits,
                      .packed_offset = done / 8 * sum_bits};
    block.Add(vectors, keys, kernel);
    done += count;
  }
}

void AddMasks(std::span<uint8_t> lanes, uint32_t lane_bytes, uint64_t first_element,
              std::span<const MaskKey> keys, MaskCipher cipher) {
  AddVectorsAndMasks(lanes, lane_bytes, 8 * lane_bytes, first_element, {}, keys, cipher);
}

const char* MaskKernelName(MaskCipher cipher) { return cpu::BestMaskKernel(cipher).name; }

}  // namespace atl::kernels
