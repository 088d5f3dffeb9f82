#include "kernels/vector_layout.h"

#include <bit>
#include <cassert>
#include <cmath>

namespace atl::kernels {
namespace {

constexpr uint32_t kMaxValueBits = 63;  // |q| is an int64_t
constexpr uint32_t kMaxSumBits = 64;

uint64_t ChunksOf(const Segment& segment) {
  return (segment.length + kChunkElements - 1) / kChunkElements;
}

// kChunkElements fields of any width are whole bytes, so every chunk starts at one.
static_assert(kChunkElements % 8 == 0);
static_assert(kMaxSegments * (kMaxElements / kChunkElements) < (uint64_t{1} << 32));

std::string Range(const char* name, uint64_t value, uint64_t low, uint64_t high) {
  return std::string(name) + " " + std::to_string(value) + " must be in [" + std::to_string(low) +
         ", " + std::to_string(high) + "]";
}

std::string ProblemOf(const Segment& s) {
  if (s.length < 1 || s.length > kMaxElements) return Range("length", s.length, 1, kMaxElements);
  if (s.sum_bits < 2 || s.sum_bits > kMaxSumBits) {
    return Range("sum_bits", s.sum_bits, 2, kMaxSumBits);
  }
  const uint32_t most = s.sum_bits < kMaxValueBits ? s.sum_bits : kMaxValueBits;
  if (s.value_bits < 2 || s.value_bits > most) return Range("value_bits", s.value_bits, 2, most);
  if (!(std::isfinite(s.scale) && s.scale > 0)) {
    return "scale " + std::to_string(s.scale) + " must be finite and > 0";
  }
  return "";
}

}  // namespace

VectorLayout::VectorLayout(std::vector<Segment> segments) : segments_(std::move(segments)) {
  assert(Problem(segments_).empty());
  for (const Segment& segment : segments_) {
    chunk_count_ += static_cast<uint32_t>(ChunksOf(segment));
    packed_bytes_ += segment.packed_bytes();
  }
}

std::string VectorLayout::Problem(const std::vector<Segment>& segments) {
  if (segments.empty() || segments.size() > kMaxSegments) {
    return Range("number of segments", segments.size(), 1, kMaxSegments);
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    const std::string problem = ProblemOf(segments[i]);
    if (!problem.empty()) return "segment " + std::to_string(i) + ": " + problem;
  }
  return "";
}

Chunk VectorLayout::chunk(uint32_t index) const {
  assert(index < chunk_count_);
  Chunk chunk{.index = index};
  uint64_t in_segment = index;
  for (const Segment& segment : segments_) {
    const uint64_t chunks = ChunksOf(segment);
    if (in_segment < chunks) {
      chunk.first_element = in_segment * kChunkElements;
      const uint64_t left = segment.length - chunk.first_element;
      chunk.elements = left < kChunkElements ? left : kChunkElements;
      chunk.byte_offset += chunk.first_element / 8 * segment.sum_bits;
      chunk.bytes = (chunk.elements * segment.sum_bits + 7) / 8;
      break;
    }
    in_segment -= chunks;
    chunk.byte_offset += segment.packed_bytes();
    ++chunk.segment;
  }
  return chunk;
}

uint32_t SumBits(uint32_t value_bits, uint32_t sites) {
  return value_bits + (sites <= 1 ? 0 : static_cast<uint32_t>(std::bit_width(sites - 1)));
}

}  // namespace atl::kernels
