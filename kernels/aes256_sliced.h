// AES-256 (FIPS 197), bit-sliced: a plane holds one bit of each of 8 * sizeof(Word) bytes, so that
// neither time nor memory accesses depend on a secret. uint64_t (four blocks) is the portable code
// on CPUs, uint32_t (two blocks) what a GPU's thread runs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/host_device.h"

namespace atl::kernels {

inline constexpr int kAes256Rounds = 14;

// Bit i of plane[j] is bit j of byte i.
template <typename Word>
struct AesPlanes {
  Word plane[8];
};

namespace sliced {

template <typename Word>
ATOLL_HOST_DEVICE constexpr Word Repeat(uint16_t pattern) {
  return static_cast<Word>(static_cast<Word>(~Word{0}) / 0xffff * pattern);
}

// Transposes the 8 x 8 bits of a word; its own inverse.
ATOLL_HOST_DEVICE inline uint64_t TransposeBits(uint64_t x) {
  uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AA;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCC;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0;
  return x ^ t ^ (t << 28);
}

// The field of 256 elements as a tower: GF(4) = GF(2)[w] / (w^2 + w + 1), GF(16) = GF(4)[z] / (z^2
// + z + w), GF(256) = GF(16)[y] / (y^2 + y + z w). 8 * sizeof(Word) elements at a time.
template <typename Word>
struct Gf4 {
  Word lo, hi;
};
template <typename Word>
struct Gf16 {
  Gf4<Word> lo, hi;
};

template <typename Word>
ATOLL_HOST_DEVICE inline Gf4<Word> operator^(Gf4<Word> a, Gf4<Word> b) {
  return {a.lo ^ b.lo, a.hi ^ b.hi};
}
template <typename Word>
ATOLL_HOST_DEVICE inline Gf16<Word> operator^(Gf16<Word> a, Gf16<Word> b) {
  return {a.lo ^ b.lo, a.hi ^ b.hi};
}

template <typename Word>
ATOLL_HOST_DEVICE inline Gf4<Word> Mul(Gf4<Word> a, Gf4<Word> b) {
  const Word ll = a.lo & b.lo;
  return {ll ^ (a.hi & b.hi), ((a.lo ^ a.hi) & (b.lo ^ b.hi)) ^ ll};
}
template <typename Word>
ATOLL_HOST_DEVICE inline Gf4<Word> Square(Gf4<Word> a) {  // also the inverse: a^3 = 1
  return {a.lo ^ a.hi, a.hi};
}
template <typename Word>
ATOLL_HOST_DEVICE inline Gf4<Word> MulW(Gf4<Word> a) {
  return {a.hi, a.lo ^ a.hi};
}

template <typename Word>
ATOLL_HOST_DEVICE inline Gf16<Word> Mul(Gf16<Word> a, Gf16<Word> b) {
  const Gf4<Word> ll = Mul(a.lo, b.lo);
  return {ll ^ MulW(Mul(a.hi, b.hi)), Mul(a.lo ^ a.hi, b.lo ^ b.hi) ^ ll};
}
template <typename Word>
ATOLL_HOST_DEVICE inline Gf16<Word> Square(Gf16<Word> a) {
  const Gf4<Word> hi = Square(a.hi);
  return {Square(a.lo) ^ MulW(hi), hi};
}
template <typename Word>
ATOLL_HOST_DEVICE inline Gf16<Word> MulZw(Gf16<Word> a) {  // hi w^2 + (lo + hi) w z
  return {MulW(MulW(a.hi)), MulW(a.lo ^ a.hi)};
}
// a^-1 = conjugate / norm; zero stays zero.
template <typename Word>
ATOLL_HOST_DEVICE inline Gf16<Word> Inverse(Gf16<Word> a) {
  const Gf4<Word> norm = MulW(Square(a.hi)) ^ Mul(a.lo, a.hi ^ a.lo);
  const Gf4<Word> inverse = Square(norm);
  return {Mul(a.lo ^ a.hi, inverse), Mul(a.hi, inverse)};
}

// Byte r of `rows`: which input bits add up to output bit r. From the field of FIPS 197 (x^8 + x^4
// + x^3 + x + 1) to the tower: bit i goes to b^i, where b is a root of that polynomial in the
// tower.
inline constexpr uint64_t kToTower = 0xa07e72a2ca24c205;
// Back, followed by the linear part of the S-box's affine map.
inline constexpr uint64_t kFromTower = 0x54d03c3975030735;
inline constexpr uint8_t kAffineConstant = 0x63;

template <uint64_t kRows, int kRow, typename Word>
ATOLL_HOST_DEVICE inline Word LinearRow(const AesPlanes<Word>& in) {
  Word out = 0;
  if constexpr ((kRows >> (8 * kRow) & 1) != 0) out ^= in.plane[0];
  if constexpr ((kRows >> (8 * kRow + 1) & 1) != 0) out ^= in.plane[1];
  if constexpr ((kRows >> (8 * kRow + 2) & 1) != 0) out ^= in.plane[2];
  if constexpr ((kRows >> (8 * kRow + 3) & 1) != 0) out ^= in.plane[3];
  if constexpr ((kRows >> (8 * kRow + 4) & 1) != 0) out ^= in.plane[4];
  if constexpr ((kRows >> (8 * kRow + 5) & 1) != 0) out ^= in.plane[5];
  if constexpr ((kRows >> (8 * kRow + 6) & 1) != 0) out ^= in.plane[6];
  if constexpr ((kRows >> (8 * kRow + 7) & 1) != 0) out ^= in.plane[7];
  return out;
}
template <uint64_t kRows, typename Word>
ATOLL_HOST_DEVICE inline AesPlanes<Word> Linear(const AesPlanes<Word>& in) {
  return {{LinearRow<kRows, 0>(in), LinearRow<kRows, 1>(in), LinearRow<kRows, 2>(in),
           LinearRow<kRows, 3>(in), LinearRow<kRows, 4>(in), LinearRow<kRows, 5>(in),
           LinearRow<kRows, 6>(in), LinearRow<kRows, 7>(in)}};
}

// Byte 4 c + r of a block is row r, column c. Row r moves r columns to the left: its bits turn by 4
// r in 16.
template <typename Word>
ATOLL_HOST_DEVICE inline void ShiftRows(AesPlanes<Word>& p) {
  for (Word& x : p.plane) {
    const Word row1 = x & Repeat<Word>(0x2222);
    const Word row2 = x & Repeat<Word>(0x4444);
    const Word row3 = x & Repeat<Word>(0x8888);
    x = (x & Repeat<Word>(0x1111)) |                                                //
        (row1 >> 4 & Repeat<Word>(0x0222)) | (row1 << 12 & Repeat<Word>(0x2000)) |  //
        (row2 >> 8 & Repeat<Word>(0x0044)) | (row2 << 8 & Repeat<Word>(0x4400)) |   //
        (row3 >> 12 & Repeat<Word>(0x0008)) | (row3 << 4 & Repeat<Word>(0x8880));
  }
}

// Each byte becomes the one in the row below; or two below.
template <typename Word>
ATOLL_HOST_DEVICE inline Word RotateColumn(Word x) {
  return (x >> 1 & Repeat<Word>(0x7777)) | (x << 3 & Repeat<Word>(0x8888));
}
template <typename Word>
ATOLL_HOST_DEVICE inline Word RotateColumnTwice(Word x) {
  return (x >> 2 & Repeat<Word>(0x3333)) | (x << 2 & Repeat<Word>(0xcccc));
}

// b_r = 2 (a_r + a_{r+1}) + a_{r+1} + a_{r+2} + a_{r+3}.
template <typename Word>
ATOLL_HOST_DEVICE inline void MixColumns(AesPlanes<Word>& p) {
  Word pair[8], rest[8];
  for (int j = 0; j < 8; ++j) {
    const Word below = RotateColumn(p.plane[j]);
    pair[j] = p.plane[j] ^ below;
    rest[j] = below ^ RotateColumnTwice(pair[j]);
  }
  for (int j = 0; j < 8; ++j) {
    Word doubled = j == 0 ? pair[7] : pair[j - 1];
    if (j == 1 || j == 3 || j == 4) doubled ^= pair[7];
    p.plane[j] = doubled ^ rest[j];
  }
}

template <typename Word>
ATOLL_HOST_DEVICE inline void AddRoundKey(AesPlanes<Word>& p, const AesPlanes<Word>& key) {
  for (int j = 0; j < 8; ++j) p.plane[j] ^= key.plane[j];
}

}  // namespace sliced

// Bytes, eight in each of sizeof(Word) little-endian words, to planes; and back.
template <typename Word>
ATOLL_HOST_DEVICE inline AesPlanes<Word> ToPlanes(const uint64_t (&bytes)[sizeof(Word)]) {
  AesPlanes<Word> p{};
  for (size_t i = 0; i < sizeof(Word); ++i) {
    const uint64_t x = sliced::TransposeBits(bytes[i]);
    for (int j = 0; j < 8; ++j) p.plane[j] |= static_cast<Word>(x >> (8 * j) & 0xff) << (8 * i);
  }
  return p;
}
template <typename Word>
ATOLL_HOST_DEVICE inline void FromPlanes(const AesPlanes<Word>& p,
                                         uint64_t (&bytes)[sizeof(Word)]) {
  for (size_t i = 0; i < sizeof(Word); ++i) {
    uint64_t x = 0;
    for (int j = 0; j < 8; ++j) x |= static_cast<uint64_t>(p.plane[j] >> (8 * i) & 0xff) << (8 * j);
    bytes[i] = sliced::TransposeBits(x);
  }
}

// The S-box on every byte (FIPS 197, 5.1.1).
template <typename Word>
ATOLL_HOST_DEVICE inline void SubBytes(AesPlanes<Word>& p) {
  using namespace sliced;
  const AesPlanes<Word> t = Linear<kToTower>(p);
  const Gf16<Word> lo{{t.plane[0], t.plane[1]}, {t.plane[2], t.plane[3]}};
  const Gf16<Word> hi{{t.plane[4], t.plane[5]}, {t.plane[6], t.plane[7]}};
  const Gf16<Word> inverse = Inverse(MulZw(Square(hi)) ^ Mul(lo, hi ^ lo));
  const Gf16<Word> out_lo = Mul(lo ^ hi, inverse);
  const Gf16<Word> out_hi = Mul(hi, inverse);
  p = Linear<kFromTower>(AesPlanes<Word>{{out_lo.lo.lo, out_lo.lo.hi, out_lo.hi.lo, out_lo.hi.hi,
                                          out_hi.lo.lo, out_hi.lo.hi, out_hi.hi.lo, out_hi.hi.hi}});
  for (int j = 0; j < 8; ++j) {
    if (kAffineConstant >> j & 1) p.plane[j] = ~p.plane[j];
  }
}

// Encrypts sizeof(Word) / 2 blocks. keys: kAes256Rounds + 1 round keys, each in every block.
template <typename Word>
ATOLL_HOST_DEVICE inline void EncryptSliced(const AesPlanes<Word>* keys, AesPlanes<Word>& p) {
  sliced::AddRoundKey(p, keys[0]);
  for (int r = 1; r < kAes256Rounds; ++r) {
    SubBytes(p);
    sliced::ShiftRows(p);
    sliced::MixColumns(p);
    sliced::AddRoundKey(p, keys[r]);
  }
  SubBytes(p);
  sliced::ShiftRows(p);
  sliced::AddRoundKey(p, keys[kAes256Rounds]);
}

}  // namespace atl::kernels
