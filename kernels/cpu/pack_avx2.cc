// Packing 32 bytes of lanes at a time.
//
// As with AVX-512, lanes of 1 or 2 bytes are first joined within each 32-bit word to one field of W
// = bits * 4 / lane_bytes bits, so that the rest sees eight words with a field each: W bytes. Bytes
// do not cross the halves of these vectors, so the joined pairs are strung together in a 64-bit
// word, and fields come back four by four from the 16 bytes that hold them.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/pack_kernels.h"

#define ATOLL_KERNEL_TARGET __attribute__((target("avx2")))

namespace atl::kernels::cpu {
namespace {

constexpr uint64_t kVectorBytes = 32;

uint32_t FieldBits(const PackShape& shape) { return shape.bits * (4 / shape.lane_bytes); }

// What is left after `vectors` vectors goes to the portable code: it starts at a whole byte.
PackShape Rest(const PackShape& shape, uint64_t vectors) {
  PackShape rest = shape;
  rest.elements -= vectors * (kVectorBytes / shape.lane_bytes);
  return rest;
}

ATOLL_KERNEL_TARGET inline __m256i Load(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
ATOLL_KERNEL_TARGET inline void Store(uint8_t* p, __m256i v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}
ATOLL_KERNEL_TARGET inline __m256i Words(uint64_t word) {
  return _mm256_set1_epi32(static_cast<int>(static_cast<uint32_t>(word)));
}
uint64_t Low(uint32_t bits) { return (uint64_t{1} << bits) - 1; }

// Two fields of `bits` bits, at bits 0 and `half` of every 2 `half` bits, moved together; and apart
// again.
struct Join {
  __m256i low, high, high_apart;
  __m128i distance;
};
ATOLL_KERNEL_TARGET inline Join MakeJoin(uint32_t bits, uint32_t half) {
  const uint64_t repeat = half == 8 ? 0x00010001 : 1;
  return {Words(Low(bits) * repeat), Words((Low(bits) << bits) * repeat),
          Words((Low(bits) << half) * repeat), _mm_cvtsi32_si128(static_cast<int>(half - bits))};
}
ATOLL_KERNEL_TARGET inline __m256i Together(__m256i v, const Join& j) {
  return _mm256_or_si256(_mm256_and_si256(v, j.low),
                         _mm256_and_si256(_mm256_srl_epi32(v, j.distance), j.high));
}
ATOLL_KERNEL_TARGET inline __m256i Apart(__m256i v, const Join& j) {
  return _mm256_or_si256(_mm256_and_si256(v, j.low),
                         _mm256_and_si256(_mm256_sll_epi32(v, j.distance), j.high_apart));
}

// The words' fields, joined to four pairs of 2 W bits, are strung together in `word`.
template <uint32_t kLane>
ATOLL_KERNEL_TARGET uint64_t PackVectors(const PackShape& shape, const uint8_t* lanes,
                                         uint8_t* packed) {
  const uint32_t field_bits = FieldBits(shape);
  const uint32_t pair_bits = 2 * field_bits;
  const Join bytes = MakeJoin(kLane == 1 ? shape.bits : 8, 8);
  const Join halves = MakeJoin(field_bits / 2, 16);
  const __m256i low = _mm256_set1_epi64x(static_cast<int64_t>(Low(field_bits)));
  const __m256i high = _mm256_set1_epi64x(static_cast<int64_t>(Low(field_bits) << field_bits));
  const __m128i distance = _mm_cvtsi32_si128(static_cast<int>(32 - field_bits));
  // Eight vectors are 8 W bytes: whole words, so that the next eight start with an empty one.
  const uint64_t vectors = shape.elements / (kVectorBytes / kLane) / 8 * 8;
  uint64_t word = 0;
  uint32_t filled = 0;  // bits of `word` in use, < 64
  for (uint64_t i = 0; i < vectors; ++i, lanes += kVectorBytes) {
    __m256i v = Load(lanes);
    if constexpr (kLane == 1) v = Together(v, bytes);
    if constexpr (kLane <= 2) v = Together(v, halves);
    v = _mm256_or_si256(_mm256_and_si256(v, low),
                        _mm256_and_si256(_mm256_srl_epi64(v, distance), high));
    alignas(32) uint64_t pair[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(pair), v);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      word |= pair[k] << filled;
      filled += pair_bits;
      if (filled >= 64) {
        std::memcpy(packed, &word, 8);
        packed += 8;
        filled -= 64;
        word = filled == 0 ? 0 : pair[k] >> (pair_bits - filled);
      }
    }
  }
  return vectors;
}

// Of 16 bytes with four fields, the first at bit `skip`, to the low bits of 64-bit words.
struct FieldUnpacker {
  __m256i bytes, shift;
};
ATOLL_KERNEL_TARGET inline FieldUnpacker MakeFieldUnpacker(uint32_t field_bits, uint32_t skip) {
  alignas(32) uint8_t bytes[32];
  alignas(32) uint64_t shift[4];
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t bit = skip + i * field_bits;
    for (uint32_t k = 0; k < 8; ++k) {
      const uint32_t byte = bit / 8 + k;
      bytes[8 * i + k] = static_cast<uint8_t>(byte < 16 ? byte : 0x80);  // 0x80: a zero
    }
    shift[i] = bit % 8;
  }
  return {_mm256_load_si256(reinterpret_cast<const __m256i*>(bytes)),
          _mm256_load_si256(reinterpret_cast<const __m256i*>(shift))};
}
ATOLL_KERNEL_TARGET inline __m256i FourFields(const uint8_t* packed, const FieldUnpacker& u) {
  const __m256i twice =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed)));
  return _mm256_srlv_epi64(_mm256_shuffle_epi8(twice, u.bytes), u.shift);
}

template <uint32_t kLane>
ATOLL_KERNEL_TARGET inline __m256i Sum(__m256i a, __m256i b) {
  if constexpr (kLane == 1) return _mm256_add_epi8(a, b);
  if constexpr (kLane == 2) return _mm256_add_epi16(a, b);
  if constexpr (kLane == 4) return _mm256_add_epi32(a, b);
  return _mm256_add_epi64(a, b);
}

template <uint32_t kLane, bool kAdd>
ATOLL_KERNEL_TARGET uint64_t UnpackVectors(const PackShape& shape, const uint8_t* packed,
                                           uint8_t* lanes) {
  const uint32_t field_bits = FieldBits(shape);
  const uint32_t second = field_bits / 2;  // the byte where the fifth field starts
  const FieldUnpacker low = MakeFieldUnpacker(field_bits, 0);
  const FieldUnpacker high = MakeFieldUnpacker(field_bits, 4 * field_bits % 8);
  const __m256i mask = Words(Low(field_bits));
  const Join bytes = MakeJoin(kLane == 1 ? shape.bits : 8, 8);
  const Join halves = MakeJoin(field_bits / 2, 16);
  const uint64_t full = shape.elements / (kVectorBytes / kLane);
  const uint64_t packed_bytes = shape.packed_bytes();
  uint64_t done = 0;
  for (; done < full && field_bits * done + second + 16 <= packed_bytes; ++done) {
    const uint8_t* in = packed + field_bits * done;
    const __m256 fields_low = _mm256_castsi256_ps(FourFields(in, low));
    const __m256 fields_high = _mm256_castsi256_ps(FourFields(in + second, high));
    // The lower halves of the 64-bit words: 0 1 4 5 2 3 6 7.
    const __m256i mixed =
        _mm256_castps_si256(_mm256_shuffle_ps(fields_low, fields_high, _MM_SHUFFLE(2, 0, 2, 0)));
    __m256i v = _mm256_and_si256(_mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0)), mask);
    if constexpr (kLane <= 2) v = Apart(v, halves);
    if constexpr (kLane == 1) v = Apart(v, bytes);
    uint8_t* out = lanes + kVectorBytes * done;
    if constexpr (kAdd) v = Sum<kLane>(v, Load(out));
    Store(out, v);
  }
  return done;
}

template <uint32_t kLane>
uint64_t UnpackOrAdd(const PackShape& shape, const uint8_t* packed, bool add, uint8_t* lanes) {
  return add ? UnpackVectors<kLane, true>(shape, packed, lanes)
             : UnpackVectors<kLane, false>(shape, packed, lanes);
}

// Fields as wide as the lanes.
template <uint32_t kLane>
ATOLL_KERNEL_TARGET uint64_t AddWhole(const PackShape& shape, const uint8_t* packed,
                                      uint8_t* lanes) {
  const uint64_t vectors = shape.elements / (kVectorBytes / kLane);
  for (uint64_t i = 0; i < vectors * kVectorBytes; i += kVectorBytes) {
    Store(lanes + i, Sum<kLane>(Load(lanes + i), Load(packed + i)));
  }
  return vectors;
}

}  // namespace

void PackAvx2(const PackShape& shape, const uint8_t* lanes, uint8_t* packed) {
  uint64_t vectors = 0;
  const bool whole = shape.bits == 8 * shape.lane_bytes;  // copied
  if (!whole && shape.lane_bytes <= 4) {
    vectors = shape.lane_bytes == 1   ? PackVectors<1>(shape, lanes, packed)
              : shape.lane_bytes == 2 ? PackVectors<2>(shape, lanes, packed)
                                      : PackVectors<4>(shape, lanes, packed);
    packed += vectors * FieldBits(shape);
  }
  PackPortable(Rest(shape, vectors), lanes + vectors * kVectorBytes, packed);
}

void UnpackAvx2(const PackShape& shape, const uint8_t* packed, bool add, uint8_t* lanes) {
  uint64_t vectors = 0;
  const bool whole = shape.bits == 8 * shape.lane_bytes;
  if (whole && add) {
    vectors = shape.lane_bytes == 1   ? AddWhole<1>(shape, packed, lanes)
              : shape.lane_bytes == 2 ? AddWhole<2>(shape, packed, lanes)
              : shape.lane_bytes == 4 ? AddWhole<4>(shape, packed, lanes)
                                      : AddWhole<8>(shape, packed, lanes);
    packed += vectors * kVectorBytes;
  } else if (!whole && shape.lane_bytes <= 4) {
    vectors = shape.lane_bytes == 1   ? UnpackOrAdd<1>(shape, packed, add, lanes)
              : shape.lane_bytes == 2 ? UnpackOrAdd<2>(shape, packed, add, lanes)
                                      : UnpackOrAdd<4>(shape, packed, add, lanes);
    packed += vectors * FieldBits(shape);
  }
  UnpackPortable(Rest(shape, vectors), packed, add, lanes + vectors * kVectorBytes);
}

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
