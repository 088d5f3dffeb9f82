// Lanes to w-bit fields without gaps, little-endian bit order (element e takes bits [e w, e w +
// w)), and back.
#pragma once

#include <cstdint>
#include <span>

namespace atl::kernels {

// lanes: elements * lane_bytes; packed: ceil(elements * sum_bits / 8) bytes, unused high bits of
// the last byte zero. The low sum_bits of each lane are kept.
void PackLanes(std::span<const uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
               uint64_t elements, std::span<uint8_t> packed);
void UnpackLanes(std::span<const uint8_t> packed, uint32_t lane_bytes, uint32_t sum_bits,
                 uint64_t elements, std::span<uint8_t> lanes);

// lanes += unpack(packed), mod 2^(8 * lane_bytes).
void AddPacked(std::span<const uint8_t> packed, uint32_t lane_bytes, uint32_t sum_bits,
               uint64_t elements, std::span<uint8_t> lanes);

}  // namespace atl::kernels
