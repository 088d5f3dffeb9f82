#include "kernels/cpu/aes256.h"

#include <bit>
#include <cstring>
#include <utility>

namespace atl::kernels::cpu {
namespace {

constexpr int kRounds = 14;
constexpr size_t kBatch = 64;  // bytes in a set of planes: four blocks

// Bit i of plane[j] is bit j of byte i.
struct Planes {
  uint64_t plane[8];
};

// Swaps the bits of `a` under mask << shift with the bits of `b` under mask.
inline void SwapBits(uint64_t& a, uint64_t& b, uint64_t mask, int shift) {
  const uint64_t t = ((a >> shift) ^ b) & mask;
  a ^= t << shift;
  b ^= t;
}

// Transposes the 8 x 8 bits of each word, then the 8 x 8 bytes of all words. Its own inverse up to
// the order of the two steps.
inline void TransposeBits(uint64_t (&x)[8]) {
  for (uint64_t& word : x) {
    uint64_t t = (word ^ (word >> 7)) & 0x00AA00AA00AA00AA;
    word ^= t ^ (t << 7);
    t = (word ^ (word >> 14)) & 0x0000CCCC0000CCCC;
    word ^= t ^ (t << 14);
    t = (word ^ (word >> 28)) & 0x00000000F0F0F0F0;
    word ^= t ^ (t << 28);
  }
}

inline void TransposeBytes(uint64_t (&x)[8]) {
  for (int i = 0; i < 4; ++i) SwapBits(x[i], x[i + 4], 0x00000000FFFFFFFF, 32);
  for (int i : {0, 1, 4, 5}) SwapBits(x[i], x[i + 2], 0x0000FFFF0000FFFF, 16);
  for (int i : {0, 2, 4, 6}) SwapBits(x[i], x[i + 1], 0x00FF00FF00FF00FF, 8);
}

Planes Load(const uint8_t* bytes) {
  Planes p;
  for (int i = 0; i < 8; ++i) {
    uint64_t word = 0;
    for (int k = 7; k >= 0; --k) word = word << 8 | bytes[8 * i + k];
    p.plane[i] = word;
  }
  TransposeBits(p.plane);
  TransposeBytes(p.plane);
  return p;
}

void Store(Planes p, uint8_t* bytes) {
  TransposeBytes(p.plane);
  TransposeBits(p.plane);
  for (int i = 0; i < 8; ++i) {
    for (int k = 0; k < 8; ++k) bytes[8 * i + k] = static_cast<uint8_t>(p.plane[i] >> (8 * k));
  }
}

// The field of 256 elements as a tower: GF(4) = GF(2)[w] / (w^2 + w + 1), GF(16) = GF(4)[z] / (z^2
// + z + w), GF(256) = GF(16)[y] / (y^2 + y + z w). 64 elements at a time.
struct Gf4 {
  uint64_t lo, hi;
};
struct Gf16 {
  Gf4 lo, hi;
};

inline Gf4 operator^(Gf4 a, Gf4 b) { return {a.lo ^ b.lo, a.hi ^ b.hi}; }
inline Gf16 operator^(Gf16 a, Gf16 b) { return {a.lo ^ b.lo, a.hi ^ b.hi}; }

inline Gf4 Mul(Gf4 a, Gf4 b) {
  const uint64_t ll = a.lo & b.lo;
  return {ll ^ (a.hi & b.hi), ((a.lo ^ a.hi) & (b.lo ^ b.hi)) ^ ll};
}
inline Gf4 Square(Gf4 a) { return {a.lo ^ a.hi, a.hi}; }  // also the inverse: a^3 = 1
inline Gf4 MulW(Gf4 a) { return {a.hi, a.lo ^ a.hi}; }

inline Gf16 Mul(Gf16 a, Gf16 b) {
  const Gf4 ll = Mul(a.lo, b.lo);
  return {ll ^ MulW(Mul(a.hi, b.hi)), Mul(a.lo ^ a.hi, b.lo ^ b.hi) ^ ll};
}
inline Gf16 Square(Gf16 a) {
  const Gf4 hi = Square(a.hi);
  return {Square(a.lo) ^ MulW(hi), hi};
}
inline Gf16 MulZw(Gf16 a) {  // (lo + hi z) z w = hi w^2 + (lo + hi) w z
  return {MulW(MulW(a.hi)), MulW(a.lo ^ a.hi)};
}
// a^-1 = conjugate / norm; zero stays zero.
inline Gf16 Inverse(Gf16 a) {
  const Gf4 norm = MulW(Square(a.hi)) ^ Mul(a.lo, a.hi ^ a.lo);
  const Gf4 inverse = Square(norm);
  return {Mul(a.lo ^ a.hi, inverse), Mul(a.hi, inverse)};
}

// Row r: which input bits add up to output bit r. From the field of FIPS 197 (x^8 + x^4 + x^3 + x +
// 1) to the tower: bit i goes to b^i, where b is a root of that polynomial in the tower.
constexpr uint8_t kToTower[8] = {0x05, 0xc2, 0x24, 0xca, 0xa2, 0x72, 0x7e, 0xa0};
// Back, followed by the linear part of the S-box's affine map.
constexpr uint8_t kFromTower[8] = {0x35, 0x07, 0x03, 0x75, 0x39, 0x3c, 0xd0, 0x54};
constexpr uint8_t kAffineConstant = 0x63;

template <const uint8_t (&kRows)[8], size_t kRow, size_t... kBit>
inline uint64_t LinearRow(const Planes& in, std::index_sequence<kBit...>) {
  return (uint64_t{0} ^ ... ^ ((kRows[kRow] >> kBit & 1) != 0 ? in.plane[kBit] : 0));
}
template <const uint8_t (&kRows)[8], size_t... kRow>
inline Planes Linear(const Planes& in, std::index_sequence<kRow...>) {
  return {{LinearRow<kRows, kRow>(in, std::make_index_sequence<8>())...}};
}

inline void SubBytes(Planes& p) {
  const Planes t = Linear<kToTower>(p, std::make_index_sequence<8>());
  const Gf16 lo{{t.plane[0], t.plane[1]}, {t.plane[2], t.plane[3]}};
  const Gf16 hi{{t.plane[4], t.plane[5]}, {t.plane[6], t.plane[7]}};
  const Gf16 inverse = Inverse(MulZw(Square(hi)) ^ Mul(lo, hi ^ lo));
  const Gf16 out_lo = Mul(lo ^ hi, inverse);
  const Gf16 out_hi = Mul(hi, inverse);
  const Planes u{{out_lo.lo.lo, out_lo.lo.hi, out_lo.hi.lo, out_lo.hi.hi, out_hi.lo.lo,
                  out_hi.lo.hi, out_hi.hi.lo, out_hi.hi.hi}};
  p = Linear<kFromTower>(u, std::make_index_sequence<8>());
  for (int j = 0; j < 8; ++j) {
    if (kAffineConstant >> j & 1) p.plane[j] = ~p.plane[j];
  }
}

// Byte 4 c + r of a block is row r, column c. Row r moves r columns to the left: its bits turn by 4
// r in 16.
inline void ShiftRows(Planes& p) {
  for (uint64_t& x : p.plane) {
    const uint64_t row1 = x & 0x2222222222222222;
    const uint64_t row2 = x & 0x4444444444444444;
    const uint64_t row3 = x & 0x8888888888888888;
    x = (x & 0x1111111111111111) |                                              //
        (row1 >> 4 & 0x0222022202220222) | (row1 << 12 & 0x2000200020002000) |  //
        (row2 >> 8 & 0x0044004400440044) | (row2 << 8 & 0x4400440044004400) |   //
        (row3 >> 12 & 0x0008000800080008) | (row3 << 4 & 0x8880888088808880);
  }
}

inline uint64_t RotateColumn(uint64_t x) {  // each byte becomes the one in the row below
  return (x >> 1 & 0x7777777777777777) | (x << 3 & 0x8888888888888888);
}
inline uint64_t RotateColumnTwice(uint64_t x) {
  return (x >> 2 & 0x3333333333333333) | (x << 2 & 0xcccccccccccccccc);
}

// b_r = 2 (a_r + a_{r+1}) + a_{r+1} + a_{r+2} + a_{r+3}.
inline void MixColumns(Planes& p) {
  uint64_t pair[8], rest[8];
  for (int j = 0; j < 8; ++j) {
    const uint64_t below = RotateColumn(p.plane[j]);
    pair[j] = p.plane[j] ^ below;
    rest[j] = below ^ RotateColumnTwice(pair[j]);
  }
  for (int j = 0; j < 8; ++j) {
    uint64_t doubled = j == 0 ? pair[7] : pair[j - 1];
    if (j == 1 || j == 3 || j == 4) doubled ^= pair[7];
    p.plane[j] = doubled ^ rest[j];
  }
}

inline void AddRoundKey(Planes& p, const Planes& key) {
  for (int j = 0; j < 8; ++j) p.plane[j] ^= key.plane[j];
}

uint32_t LoadWord(const uint8_t* p) {
  return uint32_t{p[0]} | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24;
}

}  // namespace

void WipeBytes(void* data, size_t bytes) {
  std::memset(data, 0, bytes);
  asm volatile("" : : "r"(data) : "memory");
}

uint32_t SubWordPortable(uint32_t word) {
  uint8_t bytes[kBatch] = {};
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<uint8_t>(word >> (8 * i));
  Planes p = Load(bytes);
  SubBytes(p);
  Store(p, bytes);
  const uint32_t out = LoadWord(bytes);
  WipeBytes(&p, sizeof(p));
  WipeBytes(bytes, sizeof(bytes));
  return out;
}

void ExpandAes256Key(const uint8_t* key, SubWord sub_word, Aes256Schedule& schedule) {
  constexpr int kKeyWords = 8, kWords = 4 * (kRounds + 1);
  uint32_t w[kWords];
  for (int i = 0; i < kKeyWords; ++i) w[i] = LoadWord(key + 4 * i);
  for (int i = kKeyWords; i < kWords; ++i) {
    uint32_t t = w[i - 1];
    if (i % kKeyWords == 0) {
      t = std::rotr(sub_word(t), 8) ^ (uint32_t{1} << (i / kKeyWords - 1));
    } else if (i % kKeyWords == 4) {
      t = sub_word(t);
    }
    w[i] = w[i - kKeyWords] ^ t;
  }
  for (int i = 0; i < kWords; ++i) {
    for (int k = 0; k < 4; ++k) {
      schedule.round_keys[i / 4][4 * (i % 4) + k] = static_cast<uint8_t>(w[i] >> (8 * k));
    }
  }
  WipeBytes(w, sizeof(w));
}

void EncryptBlocksPortable(const Aes256Schedule& schedule, const uint8_t* in, uint8_t* out,
                           size_t blocks) {
  Planes keys[kRounds + 1];
  uint8_t batch[kBatch];
  for (int r = 0; r <= kRounds; ++r) {
    for (size_t i = 0; i < kBatch; i += 16) std::memcpy(batch + i, schedule.round_keys[r], 16);
    keys[r] = Load(batch);
  }
  Planes p;
  for (size_t done = 0; done < blocks * 16; done += kBatch) {
    const size_t bytes = blocks * 16 - done < kBatch ? blocks * 16 - done : kBatch;
    std::memcpy(batch, in + done, bytes);
    p = Load(batch);
    AddRoundKey(p, keys[0]);
    for (int r = 1; r < kRounds; ++r) {
      SubBytes(p);
      ShiftRows(p);
      MixColumns(p);
      AddRoundKey(p, keys[r]);
    }
    SubBytes(p);
    ShiftRows(p);
    AddRoundKey(p, keys[kRounds]);
    Store(p, batch);
    std::memcpy(out + done, batch, bytes);
  }
  WipeBytes(keys, sizeof(keys));
  WipeBytes(&p, sizeof(p));
  WipeBytes(batch, sizeof(batch));
}

}  // namespace atl::kernels::cpu
