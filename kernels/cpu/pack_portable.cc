#include <cstring>

#include "kernels/cpu/pack_kernels.h"
#include "kernels/cpu/stream_range.h"

namespace atl::kernels::cpu {
namespace {

constexpr uint64_t LowBits(uint32_t bits) {
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}

// Fields are gathered in a 64-bit word that is written whenever it is full.
template <typename Lane>
void Pack(const PackShape& shape, const uint8_t* lanes, uint8_t* packed) {
  const uint64_t mask = LowBits(shape.bits);
  uint64_t word = 0;
  uint32_t filled = 0;  // bits of `word` in use, < 64
  for (uint64_t e = 0; e < shape.elements; ++e) {
    Lane lane;
    std::memcpy(&lane, lanes + e * sizeof(Lane), sizeof(Lane));
    const uint64_t field = lane & mask;
    word |= field << filled;
    filled += shape.bits;
    if (filled >= 64) {
      std::memcpy(packed, &word, 8);
      packed += 8;
      filled -= 64;
      word = filled == 0 ? 0 : field >> (shape.bits - filled);
    }
  }
  if (filled != 0) std::memcpy(packed, &word, (filled + 7) / 8);
}

template <typename Lane, bool kAdd>
inline void Put(uint8_t* lane_bytes, uint64_t field) {
  if constexpr (kAdd) {
    Lane lane;
    std::memcpy(&lane, lane_bytes, sizeof(Lane));
    field += lane;
  }
  const Lane out = static_cast<Lane>(field);
  std::memcpy(lane_bytes, &out, sizeof(Lane));
}

// The field at bit `at` of `packed`, which has `bytes` bytes.
inline uint64_t FieldAt(const uint8_t* packed, uint64_t bytes, uint64_t at, uint32_t bits) {
  const uint64_t first = at / 8, shift = at % 8, left = bytes - first;
  uint64_t word = 0;
  std::memcpy(&word, packed + first, left < 8 ? left : 8);
  word >>= shift;
  if (shift + bits > 64) word |= uint64_t{packed[first + 8]} << (64 - shift);
  return word & LowBits(bits);
}

template <typename Lane, bool kAdd>
void Unpack(const PackShape& shape, const uint8_t* packed, uint8_t* lanes) {
  const uint64_t bytes = shape.packed_bytes();
  const uint64_t mask = LowBits(shape.bits);
  uint64_t e = 0, at = 0;
  if (shape.bits <= 57) {  // a word from any byte on holds the field whole
    for (; e < shape.elements && at / 8 + 8 <= bytes; ++e, at += shape.bits) {
      uint64_t word;
      std::memcpy(&word, packed + at / 8, 8);
      Put<Lane, kAdd>(lanes + e * sizeof(Lane), word >> (at % 8) & mask);
    }
  }
  for (; e < shape.elements; ++e, at += shape.bits) {
    Put<Lane, kAdd>(lanes + e * sizeof(Lane), FieldAt(packed, bytes, at, shape.bits));
  }
}

template <bool kAdd>
void UnpackLane(const PackShape& shape, const uint8_t* packed, uint8_t* lanes) {
  switch (shape.lane_bytes) {
    case 1:
      return Unpack<uint8_t, kAdd>(shape, packed, lanes);
    case 2:
      return Unpack<uint16_t, kAdd>(shape, packed, lanes);
    case 4:
      return Unpack<uint32_t, kAdd>(shape, packed, lanes);
    default:
      return Unpack<uint64_t, kAdd>(shape, packed, lanes);
  }
}

}  // namespace

void PackPortable(const PackShape& shape, const uint8_t* lanes, uint8_t* packed) {
  if (shape.elements == 0) return;
  if (shape.bits == 8 * shape.lane_bytes) {
    std::memcpy(packed, lanes, shape.packed_bytes());
    return;
  }
  switch (shape.lane_bytes) {
    case 1:
      return Pack<uint8_t>(shape, lanes, packed);
    case 2:
      return Pack<uint16_t>(shape, lanes, packed);
    case 4:
      return Pack<uint32_t>(shape, lanes, packed);
    default:
      return Pack<uint64_t>(shape, lanes, packed);
  }
}

void UnpackPortable(const PackShape& shape, const uint8_t* packed, bool add, uint8_t* lanes) {
  if (shape.elements == 0) return;
  if (shape.bits == 8 * shape.lane_bytes) {
    if (add) return AddStream(lanes, packed, shape.packed_bytes(), shape.lane_bytes, false);
    std::memcpy(lanes, packed, shape.packed_bytes());
    return;
  }
  return add ? UnpackLane<true>(shape, packed, lanes) : UnpackLane<false>(shape, packed, lanes);
}

}  // namespace atl::kernels::cpu
