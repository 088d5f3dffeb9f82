// Packing 64 bytes of lanes at a time.
//
// Lanes of 1 or 2 bytes are first joined within each 32-bit word to one field of 4 or 2 times the
// bits, so that the rest sees only words with a field of W = bits * 4 / lane_bytes bits each: 16
// fields, 2 W bytes.
#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/cpu/pack_kernels.h"

#define ATOLL_KERNEL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))

namespace atl::kernels::cpu {
namespace {

constexpr uint64_t kVectorBytes = 64;
constexpr uint32_t kFields = 16;

uint32_t FieldBits(const PackShape& shape) { return shape.bits * (4 / shape.lane_bytes); }

// What is left after `vectors` vectors goes to the portable code: it starts at a whole byte.
PackShape Rest(const PackShape& shape, uint64_t vectors) {
  PackShape rest = shape;
  rest.elements -= vectors * (kVectorBytes / shape.lane_bytes);
  return rest;
}

// `count` shifts in all words of a vector; counts of 32 and more give zero.
ATOLL_KERNEL_TARGET inline __m512i Left(__m512i v, uint32_t count) {
  return _mm512_maskz_sllv_epi32(0xffff, v, _mm512_set1_epi32(static_cast<int>(count)));
}
ATOLL_KERNEL_TARGET inline __m512i Right(__m512i v, uint32_t count) {
  return _mm512_maskz_srlv_epi32(0xffff, v, _mm512_set1_epi32(static_cast<int>(count)));
}
ATOLL_KERNEL_TARGET inline __m512i Words(uint64_t word) {
  return _mm512_set1_epi32(static_cast<int>(static_cast<uint32_t>(word)));
}
uint64_t Low(uint32_t bits) { return (uint64_t{1} << bits) - 1; }

// Two fields of `bits` bits, at bits 0 and `half` of every 2 `half` bits, moved together; and apart
// again.
struct Join {
  __m512i low, high, high_apart;
  uint32_t distance;
};
ATOLL_KERNEL_TARGET inline Join MakeJoin(uint32_t bits, uint32_t half) {
  const uint64_t repeat = half == 8 ? 0x00010001 : 1;
  return {Words(Low(bits) * repeat), Words((Low(bits) << bits) * repeat),
          Words((Low(bits) << half) * repeat), half - bits};
}
ATOLL_KERNEL_TARGET inline __m512i Together(__m512i v, const Join& j) {
  return _mm512_or_si512(_mm512_and_si512(v, j.low),
                         _mm512_and_si512(Right(v, j.distance), j.high));
}
ATOLL_KERNEL_TARGET inline __m512i Apart(__m512i v, const Join& j) {
  return _mm512_or_si512(_mm512_and_si512(v, j.low),
                         _mm512_and_si512(Left(v, j.distance), j.high_apart));
}

// Of 16 fields in words to 2 W bytes. First pairs of fields are joined in 64-bit words P[0..7], of
// B = 2 W bits each; then 64-bit word k of the output is made of the pairs a, a + 1 and a + 2, a =
// floor(64 k / B): with W > 16 there are no more. Pairs after the last would only reach bits that
// are not stored.
struct FieldPacker {
  __m512i pair[3];    // a, a + 1, a + 2
  __m512i shift[3];   // P[a] to the right, the others to the left
  __m512i low, high;  // of a pair
  __m512i distance;
  __mmask64 stored;  // bytes
};
ATOLL_KERNEL_TARGET inline FieldPacker MakeFieldPacker(uint32_t field_bits) {
  const uint64_t pair_bits = 2 * field_bits;
  alignas(64) uint64_t pair[3][8], shift[3][8];
  for (uint64_t k = 0; k < 8; ++k) {
    const uint64_t first = 64 * k / pair_bits;
    const uint64_t skip = 64 * k % pair_bits;
    for (uint64_t i = 0; i < 3; ++i) {
      pair[i][k] = (first + i) % 8;
      shift[i][k] = i == 0 ? skip : i * pair_bits - skip;
    }
  }
  FieldPacker p;
  for (int i = 0; i < 3; ++i) {
    p.pair[i] = _mm512_load_si512(pair[i]);
    p.shift[i] = _mm512_load_si512(shift[i]);
  }
  p.low = _mm512_set1_epi64(static_cast<int64_t>(Low(field_bits)));
  p.high = _mm512_set1_epi64(static_cast<int64_t>(Low(field_bits) << field_bits));
  p.distance = _mm512_set1_epi64(32 - field_bits);
  p.stored = ~uint64_t{0} >> (kVectorBytes - 2 * field_bits);
  return p;
}
ATOLL_KERNEL_TARGET inline __m512i PackFields(__m512i words, const FieldPacker& p) {
  const __m512i pairs =
      _mm512_or_si512(_mm512_and_si512(words, p.low),
                      _mm512_and_si512(_mm512_maskz_srlv_epi64(0xff, words, p.distance), p.high));
  __m512i out = _mm512_maskz_srlv_epi64(
      0xff, _mm512_maskz_permutexvar_epi64(0xff, p.pair[0], pairs), p.shift[0]);
  for (int i = 1; i < 3; ++i) {
    const __m512i next = _mm512_maskz_permutexvar_epi64(0xff, p.pair[i], pairs);
    out = _mm512_or_si512(out, _mm512_maskz_sllv_epi64(0xff, next, p.shift[i]));
  }
  return out;
}

// And back: the bytes that hold a field are brought to a 64-bit word of its own, shifted and
// masked.
struct FieldUnpacker {
  __m512i bytes[2], shift[2];
  __m512i even;  // the lower 32 bits of all 16
  __m512i mask;
};
ATOLL_KERNEL_TARGET inline FieldUnpacker MakeFieldUnpacker(uint32_t field_bits) {
  alignas(64) uint8_t bytes[2][64];
  alignas(64) uint64_t shift[2][8];
  alignas(64) uint32_t even[kFields];
  for (uint32_t i = 0; i < kFields; ++i) {
    const uint32_t bit = i * field_bits;
    for (uint32_t k = 0; k < 8; ++k) {
      bytes[i / 8][8 * (i % 8) + k] = static_cast<uint8_t>((bit / 8 + k) % kVectorBytes);
    }
    shift[i / 8][i % 8] = bit % 8;
    even[i] = 2 * i;
  }
  FieldUnpacker u;
  for (int half = 0; half < 2; ++half) {
    u.bytes[half] = _mm512_load_si512(bytes[half]);
    u.shift[half] = _mm512_load_si512(shift[half]);
  }
  u.even = _mm512_load_si512(even);
  u.mask = Words(Low(field_bits));
  return u;
}
ATOLL_KERNEL_TARGET inline __m512i UnpackFields(__m512i packed, const FieldUnpacker& u) {
  __m512i half[2];
  for (int i = 0; i < 2; ++i) {
    half[i] = _mm512_maskz_srlv_epi64(
        0xff, _mm512_maskz_permutexvar_epi8(~uint64_t{0}, u.bytes[i], packed), u.shift[i]);
  }
  return _mm512_and_si512(_mm512_permutex2var_epi32(half[0], u.even, half[1]), u.mask);
}

template <uint32_t kLane>
ATOLL_KERNEL_TARGET uint64_t PackVectors(const PackShape& shape, const uint8_t* lanes,
                                         uint8_t* packed) {
  const uint32_t field_bits = FieldBits(shape);
  const FieldPacker packer = MakeFieldPacker(field_bits);
  const Join bytes = MakeJoin(kLane == 1 ? shape.bits : 8, 8);
  const Join halves = MakeJoin(field_bits / 2, 16);
  const uint64_t vectors = shape.elements / (kVectorBytes / kLane);
  for (uint64_t i = 0; i < vectors; ++i, lanes += kVectorBytes, packed += 2 * field_bits) {
    __m512i v = _mm512_loadu_si512(lanes);
    if constexpr (kLane == 1) v = Together(v, bytes);
    if constexpr (kLane <= 2) v = Together(v, halves);
    _mm512_mask_storeu_epi8(packed, packer.stored, PackFields(v, packer));
  }
  return vectors;
}

template <uint32_t kLane>
ATOLL_KERNEL_TARGET inline __m512i Sum(__m512i a, __m512i b) {
  if constexpr (kLane == 1) return _mm512_add_epi8(a, b);
  if constexpr (kLane == 2) return _mm512_add_epi16(a, b);
  if constexpr (kLane == 4) return _mm512_add_epi32(a, b);
  return _mm512_add_epi64(a, b);
}

template <uint32_t kLane, bool kAdd>
ATOLL_KERNEL_TARGET uint64_t UnpackVectors(const PackShape& shape, const uint8_t* packed,
                                           uint8_t* lanes) {
  const uint32_t field_bits = FieldBits(shape);
  const FieldUnpacker unpacker = MakeFieldUnpacker(field_bits);
  const Join bytes = MakeJoin(kLane == 1 ? shape.bits : 8, 8);
  const Join halves = MakeJoin(field_bits / 2, 16);
  const uint64_t full = shape.elements / (kVectorBytes / kLane);
  const uint64_t packed_bytes = shape.packed_bytes();
  uint64_t done = 0;
  for (; done < full && 2 * field_bits * done + kVectorBytes <= packed_bytes; ++done) {
    __m512i v = UnpackFields(_mm512_loadu_si512(packed + 2 * field_bits * done), unpacker);
    if constexpr (kLane <= 2) v = Apart(v, halves);
    if constexpr (kLane == 1) v = Apart(v, bytes);
    uint8_t* out = lanes + kVectorBytes * done;
    if constexpr (kAdd) v = Sum<kLane>(v, _mm512_loadu_si512(out));
    _mm512_storeu_si512(out, v);
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
    _mm512_storeu_si512(lanes + i,
                        Sum<kLane>(_mm512_loadu_si512(lanes + i), _mm512_loadu_si512(packed + i)));
  }
  return vectors;
}

}  // namespace

void PackAvx512(const PackShape& shape, const uint8_t* lanes, uint8_t* packed) {
  uint64_t vectors = 0;
  const bool whole = shape.bits == 8 * shape.lane_bytes;  // copied
  if (!whole && shape.lane_bytes <= 4 && FieldBits(shape) > 16) {
    vectors = shape.lane_bytes == 1   ? PackVectors<1>(shape, lanes, packed)
              : shape.lane_bytes == 2 ? PackVectors<2>(shape, lanes, packed)
                                      : PackVectors<4>(shape, lanes, packed);
    packed += vectors * 2 * FieldBits(shape);
  }
  PackPortable(Rest(shape, vectors), lanes + vectors * kVectorBytes, packed);
}

void UnpackAvx512(const PackShape& shape, const uint8_t* packed, bool add, uint8_t* lanes) {
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
    packed += vectors * 2 * FieldBits(shape);
  }
  UnpackPortable(Rest(shape, vectors), packed, add, lanes + vectors * kVectorBytes);
}

}  // namespace atl::kernels::cpu

#endif  // __x86_64__
