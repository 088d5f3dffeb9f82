// Key streams added to lanes: the arithmetic of secure aggregation.
//
// Element e of a segment with lanes of L bytes takes bytes [eL, eL + L) of the stream,
// little-endian. AES-256-CTR: block b = floor(eL / 16), counter block = b as a 128-bit big-endian
// number. Any range can be made by any thread or rank.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace atl::kernels {

struct MaskKey {
  std::array<uint8_t, 32> key{};
  bool subtract = false;  // false: the stream is added, true: it is subtracted
};

enum class MaskCipher : uint8_t { kAes256Ctr = 1, kChaCha20 = 2 };

// Adds (or subtracts) the streams of all keys to `lanes`, mod 2^(8 * lane_bytes).
//   lanes: elements * lane_bytes bytes, little-endian lanes, aligned to lane_bytes
//   first_element: index in the segment of lanes[0]
//   lane_bytes: 1, 2, 4 or 8
// The fastest implementation this CPU has is used; all give the same bytes. The keys' expanded
// schedules are wiped.
void AddMasks(std::span<uint8_t> lanes, uint32_t lane_bytes, uint64_t first_element,
              std::span<const MaskKey> keys, MaskCipher cipher = MaskCipher::kAes256Ctr);

// The same with packed vectors of these lanes added too (as AddPacked does), by turns: a vector
// comes from memory while the stream before it is computed.
//   sum_bits: 1 to 8 * lane_bytes
//   vectors: ceil(elements * sum_bits / 8) bytes each
//   first_element: a multiple of 8
void AddVectorsAndMasks(std::span<uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
                        uint64_t first_element, std::span<const std::span<const uint8_t>> vectors,
                        std::span<const MaskKey> keys, MaskCipher cipher = MaskCipher::kAes256Ctr);

// Name of the implementation AddMasks uses here: "vaes512", "aesni", "scalar"...
const char* MaskKernelName(MaskCipher cipher = MaskCipher::kAes256Ctr);

}  // namespace atl::kernels
