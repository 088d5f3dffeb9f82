#include "kernels/pack.h"

#include <cassert>
#include <cstring>

namespace atl::kernels {
namespace {

constexpr uint64_t LowBits(uint32_t bits) {
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

template <typename Lane>
inline Lane LoadLane(const uint8_t* lanes, uint64_t index) {
  Lane lane;
  std::memcpy(&lane, lanes + index * sizeof(Lane), sizeof(Lane));
  return lane;
}
template <typename Lane>
inline void StoreLaneAt(uint8_t* lanes, uint64_t index, Lane lane) {
  std::memcpy(lanes + index * sizeof(Lane), &lane, sizeof(Lane));
}

// Fields are gathered in a 64-bit word that is written whenever it is full.
template <typename Lane>
void Pack(const uint8_t* lanes, uint32_t bits, uint64_t elements, uint8_t* packed) {
  const uint64_t mask = LowBits(bits);
  uint64_t word = 0;
  uint32_t filled = 0;  // bits of `word` in use, < 64
  for (uint64_t e = 0; e < elements; ++e) {
    const uint64_t field = LoadLane<Lane>(lanes, e) & mask;
    word |= field << filled;
    filled += bits;
    if (filled >= 64) {
      std::memcpy(packed, &word, 8);
      packed += 8;
      filled -= 64;
      word = filled == 0 ? 0 : field >> (bits - filled);
    }
  }
  std::memcpy(packed, &word, (filled + 7) / 8);
}

template <typename Lane, bool kAdd>
inline void Put(uint8_t* lanes, uint64_t index, uint64_t field) {
  if constexpr (kAdd) field += LoadLane<Lane>(lanes, index);
  StoreLaneAt<Lane>(lanes, index, static_cast<Lane>(field));
}

// `bytes`: of `packed`.
template <typename Lane, bool kAdd>
void Unpack(const uint8_t* packed, uint64_t bytes, uint32_t bits, uint64_t elements,
            uint8_t* lanes) {
  const uint64_t mask = LowBits(bits);
  uint64_t word = 0;
  uint32_t available = 0;  // bits of `word` not yet taken, <= 64
  for (uint64_t e = 0; e < elements; ++e) {
    uint64_t field = word;
    if (available < bits) {
      uint64_t next = 0;
      const uint64_t take = bytes < 8 ? bytes : 8;
      std::memcpy(&next, packed, take);
      packed += take;
      bytes -= take;
      field |= available < 64 ? next << available : 0;
      const uint32_t used = bits - available;  // of next, 1..64
      word = used < 64 ? next >> used : 0;
      available = 64 - used;
    } else {
      word = bits < 64 ? word >> bits : 0;
      available -= bits;
    }
    Put<Lane, kAdd>(lanes, e, field & mask);
  }
}

void CheckWidths(uint32_t lane_bytes, uint32_t sum_bits) {
  assert(lane_bytes == 1 || lane_bytes == 2 || lane_bytes == 4 || lane_bytes == 8);
  assert(sum_bits >= 1 && sum_bits <= 8 * lane_bytes);
}

template <bool kAdd>
void UnpackAny(std::span<const uint8_t> packed, uint32_t lane_bytes, uint32_t sum_bits,
               uint64_t elements, std::span<uint8_t> lanes) {
  CheckWidths(lane_bytes, sum_bits);
  const uint64_t bytes = (elements * sum_bits + 7) / 8;
  assert(packed.size() >= bytes && lanes.size() >= elements * lane_bytes);
  switch (lane_bytes) {
    case 1:
      return Unpack<uint8_t, kAdd>(packed.data(), bytes, sum_bits, elements, lanes.data());
    case 2:
      return Unpack<uint16_t, kAdd>(packed.data(), bytes, sum_bits, elements, lanes.data());
    case 4:
      return Unpack<uint32_t, kAdd>(packed.data(), bytes, sum_bits, elements, lanes.data());
    default:
      return Unpack<uint64_t, kAdd>(packed.data(), bytes, sum_bits, elements, lanes.data());
  }
}

}  // namespace

void PackLanes(std::span<const uint8_t> lanes, uint32_t lane_bytes, uint32_t sum_bits,
               uint64_t elements, std::span<uint8_t> packed) {
  CheckWidths(lane_bytes, sum_bits);
  assert(lanes.size() >= elements * lane_bytes && packed.size() >= (elements * sum_bits + 7) / 8);
  switch (lane_bytes) {
    case 1:
      return Pack<uint8_t>(lanes.data(), sum_bits, elements, packed.data());
    case 2:
      return Pack<uint16_t>(lanes.data(), sum_bits, elements, packed.data());
    case 4:
      return Pack<uint32_t>(lanes.data(), sum_bits, elements, packed.data());
    default:
      return Pack<uint64_t>(lanes.data(), sum_bits, elements, packed.data());
  }
}

void UnpackLanes(std::span<const uint8_t> packed, uint32_t lane_bytes, uint32_t sum_bits,
                 uint64_t elements, std::span<uint8_t> lanes) {
  UnpackAny<false>(packed, lane_bytes, sum_bits, elements, lanes);
}

void AddPacked(std::span<const uint8_t> packed, uint32_t lane_bytes, uint32_t sum_bits,
               uint64_t elements, std::span<uint8_t> lanes) {
  UnpackAny<true>(packed, lane_bytes, sum_bits, elements, lanes);
}

}  // namespace atl::kernels
