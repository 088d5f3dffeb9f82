// Packing against a bit by bit reference.
#include "kernels/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/pack_kernels.h"
#include "kernels/vector_layout.h"

namespace atl::kernels {
namespace {

using Bytes = std::vector<uint8_t>;

// Memory of exactly `size` bytes, so that the address sanitizer sees a byte too many.
struct Exact {
  explicit Exact(const Bytes& from) : data(new uint8_t[from.size()]), size(from.size()) {
    std::copy(from.begin(), from.end(), data.get());
  }
  std::span<uint8_t> span() { return {data.get(), size}; }
  Bytes bytes() const { return Bytes(data.get(), data.get() + size); }
  std::unique_ptr<uint8_t[]> data;
  size_t size;
};

Bytes Noise(size_t size, uint64_t seed) {
  Bytes out(size);
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (uint8_t& byte : out) {
    state = state * 6364136223846793005 + 1442695040888963407;
    byte = static_cast<uint8_t>(state >> 56);
  }
  return out;
}

bool Bit(const Bytes& bytes, uint64_t bit) { return bytes[bit / 8] >> (bit % 8) & 1; }

Bytes PlainPack(const Bytes& lanes, uint32_t lane_bytes, uint32_t bits, uint64_t elements) {
  Bytes packed((elements * bits + 7) / 8);
  for (uint64_t e = 0; e < elements; ++e) {
    for (uint32_t i = 0; i < bits; ++i) {
      const uint64_t to = e * bits + i;
      packed[to / 8] |= static_cast<uint8_t>(Bit(lanes, e * lane_bytes * 8 + i) << (to % 8));
    }
  }
  return packed;
}

Bytes PlainUnpack(const Bytes& packed, uint32_t lane_bytes, uint32_t bits, uint64_t elements) {
  Bytes lanes(elements * lane_bytes);
  for (uint64_t e = 0; e < elements; ++e) {
    for (uint32_t i = 0; i < bits; ++i) {
      const uint64_t to = e * lane_bytes * 8 + i;
      lanes[to / 8] |= static_cast<uint8_t>(Bit(packed, e * bits + i) << (to % 8));
    }
  }
  return lanes;
}

Bytes PlainAdd(Bytes lanes, const Bytes& more, uint32_t lane_bytes) {
  for (size_t lane = 0; lane < lanes.size(); lane += lane_bytes) {
    int carry = 0;
    for (size_t i = lane; i < lane + lane_bytes; ++i) {
      const int sum = lanes[i] + more[i] + carry;
      lanes[i] = static_cast<uint8_t>(sum);
      carry = sum >> 8;
    }
  }
  return lanes;
}

std::vector<uint64_t> Counts() {
  std::vector<uint64_t> counts;
  for (uint64_t n = 0; n <= 40; ++n) counts.push_back(n);
  for (const uint64_t n : {63, 64, 65, 127, 128, 129, 130, 191, 192, 193, 255, 256, 257, 1000}) {
    counts.push_back(n);
  }
  return counts;
}

class PackWidths : public ::testing::TestWithParam<uint32_t> {};

// All lanes that hold the width, also larger ones than needed, with noise above the kept bits.
TEST_P(PackWidths, EqualsTheReferenceInEveryKernel) {
  const uint32_t bits = GetParam();
  for (const uint32_t lane_bytes : {1, 2, 4, 8}) {
    if (bits > 8 * lane_bytes) continue;
    for (const uint64_t elements : Counts()) {
      const cpu::PackShape shape{.lane_bytes = lane_bytes, .bits = bits, .elements = elements};
      const Bytes lanes = Noise(elements * lane_bytes, elements * 100 + bits);
      const Bytes expected = PlainPack(lanes, lane_bytes, bits, elements);
      const Bytes fields = PlainUnpack(expected, lane_bytes, bits, elements);
      const Bytes sums = PlainAdd(lanes, fields, lane_bytes);
      for (const cpu::PackKernel& kernel : cpu::PackKernels()) {
        if (!kernel.supported()) continue;
        SCOPED_TRACE(std::string(kernel.name) + ", lanes of " + std::to_string(lane_bytes) +
                     ", elements " + std::to_string(elements));
        Exact in(lanes), packed(Noise(expected.size(), 1)), out(Noise(lanes.size(), 2)), sum(lanes);
        kernel.pack(shape, in.data.get(), packed.data.get());
        ASSERT_EQ(packed.bytes(), expected);
        kernel.unpack(shape, packed.data.get(), false, out.data.get());
        ASSERT_EQ(out.bytes(), fields);
        kernel.unpack(shape, packed.data.get(), true, sum.data.get());
        ASSERT_EQ(sum.bytes(), sums);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, PackWidths, ::testing::Range(1u, 65u));

TEST(Pack, AddsToWhatIsThere) {
  const Bytes packed = {0x01, 0x08, 0xf0, 0x3f, 0x8d};
  Bytes lanes = {0xff, 0xff, 0, 0, 1, 0, 0, 0}, out(8);
  AddPacked(packed, 2, 10, 4, lanes);
  EXPECT_EQ(lanes, (Bytes{0x00, 0x00, 0x02, 0, 0x00, 0x04, 0x34, 0x02}));
  UnpackLanes(packed, 2, 10, 4, out);
  EXPECT_EQ(out, (Bytes{0x01, 0, 0x02, 0, 0xff, 0x03, 0x34, 0x02}));
}

TEST(Pack, IsLittleEndianWithoutGaps) {
  const Bytes lanes = {0x01, 0, 0x02, 0, 0xff, 0x0f, 0x34, 0x02};
  Bytes packed(5);
  PackLanes(lanes, 2, 10, 4, packed);
  // Fields 0x001, 0x002, 0x3ff, 0x234 from bit 0 on.
  EXPECT_EQ(packed, (Bytes{0x01, 0x08, 0xf0, 0x3f, 0x8d}));
}

TEST(Pack, ChunksAreThePiecesOfTheWhole) {
  const VectorLayout layout(
      {{.length = 2 * kChunkElements + 13, .value_bits = 16, .sum_bits = 19}});
  const uint64_t elements = layout.segments()[0].length;
  const Bytes lanes = Noise(elements * 4, 5);
  Bytes whole(layout.packed_bytes()), pieces(layout.packed_bytes());
  PackLanes(lanes, 4, 19, elements, whole);
  for (uint32_t c = 0; c < layout.chunk_count(); ++c) {
    const Chunk chunk = layout.chunk(c);
    PackLanes(std::span(lanes).subspan(chunk.first_element * 4, chunk.elements * 4), 4, 19,
              chunk.elements, std::span(pieces).subspan(chunk.byte_offset, chunk.bytes));
  }
  EXPECT_TRUE(whole == pieces);
}

TEST(Pack, WorksUnaligned) {
  const Bytes lanes = Noise(8 * 100, 6);
  for (const uint32_t lane_bytes : {2, 4, 8}) {
    for (const uint32_t bits :
         {7, 8 * static_cast<int>(lane_bytes) - 1, 8 * static_cast<int>(lane_bytes)}) {
      Bytes shifted(1 + 100 * lane_bytes), packed(1 + (100 * bits + 7) / 8), out(shifted.size());
      std::copy_n(lanes.begin(), 100 * lane_bytes, shifted.begin() + 1);
      const Bytes expected = PlainPack(lanes, lane_bytes, bits, 100);
      PackLanes(std::span(shifted).subspan(1), lane_bytes, bits, 100, std::span(packed).subspan(1));
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), packed.begin() + 1));
      UnpackLanes(std::span(packed).subspan(1), lane_bytes, bits, 100, std::span(out).subspan(1));
      const Bytes fields = PlainUnpack(expected, lane_bytes, bits, 100);
      EXPECT_TRUE(std::equal(fields.begin(), fields.end(), out.begin() + 1));
    }
  }
}

}  // namespace
}  // namespace atl::kernels
