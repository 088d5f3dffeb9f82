#include "kernels/vector_layout.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace atl::kernels {
namespace {

TEST(SumBits, NeverOverflowsAndWastesLessThanABit) {
  EXPECT_EQ(SumBits(16, 1), 16u);
  EXPECT_EQ(SumBits(16, 2), 17u);
  EXPECT_EQ(SumBits(16, 3), 18u);
  EXPECT_EQ(SumBits(16, 4), 18u);
  EXPECT_EQ(SumBits(16, 5), 19u);
  EXPECT_EQ(SumBits(10, 64), 16u);
  EXPECT_EQ(SumBits(10, 65), 17u);
  for (uint32_t bits = 2; bits <= 24; ++bits) {
    for (uint32_t sites = 1; sites <= 300; ++sites) {
      const Segment s{.length = 1, .value_bits = bits, .sum_bits = SumBits(bits, sites)};
      const int64_t limit = (int64_t{1} << (s.sum_bits - 1)) - 1;
      EXPECT_LE(s.bound() * sites, limit) << bits << " bits, " << sites << " sites";
      if (sites > 1) {
        EXPECT_LT(uint64_t{1} << (s.sum_bits - bits - 1), sites);
      }
    }
  }
}

TEST(Segment, LanesHoldTheSum) {
  for (uint32_t bits = 1; bits <= 64; ++bits) {
    const uint32_t lane_bits = 8 * Segment{.length = 1, .sum_bits = bits}.lane_bytes();
    EXPECT_GE(lane_bits, bits);
    EXPECT_TRUE(lane_bits == 8 || lane_bits / 2 < bits) << bits;
  }
  EXPECT_EQ((Segment{.length = 1, .value_bits = 63, .sum_bits = 64}.bound()),
            std::numeric_limits<int64_t>::max() / 2);
}

Segment Valid() { return {.length = 10, .value_bits = 16, .sum_bits = 18, .scale = 2.0}; }

TEST(VectorLayout, NamesWhatIsWrong) {
  EXPECT_EQ(VectorLayout::Problem({Valid()}), "");
  EXPECT_EQ(VectorLayout::Problem(std::vector<Segment>(kMaxSegments, Valid())), "");
  EXPECT_EQ(VectorLayout::Problem({}), "number of segments 0 must be in [1, 16]");
  EXPECT_EQ(VectorLayout::Problem(std::vector<Segment>(kMaxSegments + 1, Valid())),
            "number of segments 17 must be in [1, 16]");
  const auto problem = [](auto change) {
    Segment segment = Valid();
    change(segment);
    return VectorLayout::Problem({Valid(), segment});
  };
  EXPECT_EQ(problem([](Segment& s) { s.length = 0; }),
            "segment 1: length 0 must be in [1, 17179869184]");
  EXPECT_EQ(problem([](Segment& s) { s.length = kMaxElements + 1; }),
            "segment 1: length 17179869185 must be in [1, 17179869184]");
  EXPECT_EQ(problem([](Segment& s) { s.sum_bits = 65; }),
            "segment 1: sum_bits 65 must be in [2, 64]");
  EXPECT_EQ(problem([](Segment& s) { s.sum_bits = 1; }),
            "segment 1: sum_bits 1 must be in [2, 64]");
  EXPECT_EQ(problem([](Segment& s) { s.value_bits = 1; }),
            "segment 1: value_bits 1 must be in [2, 18]");
  EXPECT_EQ(problem([](Segment& s) { s.value_bits = 19; }),
            "segment 1: value_bits 19 must be in [2, 18]");
  EXPECT_EQ(problem([](Segment& s) { s.sum_bits = s.value_bits = 64; }),
            "segment 1: value_bits 64 must be in [2, 63]");
  for (const double scale : {0.0, -1.0, std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_NE(problem([&](Segment& s) { s.scale = scale; }), "") << scale;
  }
}

// Every coordinate of every segment in exactly one chunk, every byte of the vector in exactly one
// chunk, in order.
void ExpectChunksCover(const VectorLayout& layout) {
  uint32_t index = 0;
  uint64_t byte = 0;
  for (uint32_t s = 0; s < layout.segments().size(); ++s) {
    const Segment& segment = layout.segments()[s];
    const uint64_t segment_start = byte;
    for (uint64_t element = 0; element < segment.length; ++index) {
      ASSERT_LT(index, layout.chunk_count());
      const Chunk chunk = layout.chunk(index);
      ASSERT_EQ(chunk.index, index);
      ASSERT_EQ(chunk.segment, s);
      ASSERT_EQ(chunk.first_element, element);
      ASSERT_EQ(chunk.byte_offset, byte);
      ASSERT_GE(chunk.elements, 1u);
      ASSERT_LE(chunk.elements, kChunkElements);
      element += chunk.elements;
      ASSERT_TRUE(chunk.elements == kChunkElements || element == segment.length);
      ASSERT_GE(chunk.bytes * 8, chunk.elements * segment.sum_bits);
      ASSERT_LT(chunk.bytes * 8, chunk.elements * segment.sum_bits + 8);
      // Its first field starts at its first byte's first bit.
      ASSERT_EQ((chunk.byte_offset - segment_start) * 8, chunk.first_element * segment.sum_bits);
      byte += chunk.bytes;
      ASSERT_LE(element, segment.length);
    }
    ASSERT_EQ(byte - segment_start, segment.packed_bytes());
  }
  EXPECT_EQ(index, layout.chunk_count());
  EXPECT_EQ(byte, layout.packed_bytes());
}

TEST(VectorLayout, ChunksCoverEveryWidth) {
  for (uint32_t bits = 2; bits <= 64; ++bits) {
    std::vector<Segment> segments;
    for (const uint64_t length : {uint64_t{1}, uint64_t{7}, kChunkElements - 1, kChunkElements,
                                  kChunkElements + 1, 3 * kChunkElements + 5}) {
      segments.push_back({.length = length, .value_bits = 2, .sum_bits = bits});
    }
    ExpectChunksCover(VectorLayout(segments));
    ASSERT_FALSE(HasFatalFailure()) << bits;
  }
}

TEST(VectorLayout, ChunksCoverVectorsOfMoreThan32BitsOfBits) {
  const std::vector<Segment> segments = {
      {.length = 11, .value_bits = 32, .sum_bits = 40},
      {.length = 230'000'001, .value_bits = 16, .sum_bits = 19},  // 4.4e9 bits
      {.length = 5'000'000'003, .value_bits = 16, .sum_bits = 24},
  };
  const VectorLayout layout(segments);
  EXPECT_EQ(layout.packed_bytes(), 55u + 546'250'003u + 15'000'000'009u);
  ExpectChunksCover(layout);
}

TEST(VectorLayout, TheLargestVectorsFit) {
  const VectorLayout layout(std::vector<Segment>(
      kMaxSegments, {.length = kMaxElements, .value_bits = 63, .sum_bits = 64}));
  EXPECT_EQ(layout.packed_bytes(), uint64_t{16} << 37);
  EXPECT_EQ(layout.chunk_count(), uint32_t{16} << 16);
  const Chunk last = layout.chunk(layout.chunk_count() - 1);
  EXPECT_EQ(last.byte_offset + last.bytes, layout.packed_bytes());
  EXPECT_EQ(last.first_element + last.elements, kMaxElements);
}

TEST(VectorLayout, ChunkOfTheModelIsAMebibyte) {
  EXPECT_EQ(kChunkElements * sizeof(float), size_t{1} << 20);
}

}  // namespace
}  // namespace atl::kernels
