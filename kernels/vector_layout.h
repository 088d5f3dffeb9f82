// What a site's vector looks like on the wire: segments of lanes, cut into chunks. Shared by
// trainer, agent and coordinator, so that all three mean the same byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace atl::kernels {

// A chunk is 2^18 coordinates of one segment (the last one of a segment may hold fewer): 1 MiB of
// float32 model, and w/32 MiB of packed vector, so that chunk k of the model, of every site's
// vector and of their sum are the same coordinates.
inline constexpr uint64_t kChunkElements = uint64_t{1} << 18;
inline constexpr uint32_t kMaxSegments = 16;
inline constexpr uint64_t kMaxElements = uint64_t{1} << 34;

struct Segment {
  uint64_t length = 0;      // coordinates
  uint32_t value_bits = 0;  // v: |q| <= 2^(v-1) - 1
  uint32_t sum_bits = 0;    // w: integers are added mod 2^w and sent packed in w bits; v <= w <= 64
  double scale = 1.0;       // q = round(x * scale)

  // Bytes of a lane in memory and in the key stream: the smallest of 1, 2, 4, 8 that holds
  // sum_bits.
  uint32_t lane_bytes() const {
    return sum_bits <= 8 ? 1 : sum_bits <= 16 ? 2 : sum_bits <= 32 ? 4 : 8;
  }
  uint64_t packed_bytes() const { return (length * sum_bits + 7) / 8; }
  int64_t bound() const { return (int64_t{1} << (value_bits - 1)) - 1; }
  bool operator==(const Segment&) const = default;
};

struct Chunk {
  uint32_t index = 0;  // over the whole vector
  uint32_t segment = 0;
  uint64_t first_element = 0;  // in its segment
  uint64_t elements = 0;       // <= kChunkElements
  uint64_t byte_offset = 0;    // in the packed vector
  uint64_t bytes = 0;          // packed, rounded up to whole bytes
};

// Immutable after construction.
class VectorLayout {
 public:
  VectorLayout() = default;
  explicit VectorLayout(std::vector<Segment> segments);

  // Empty when valid, else what is wrong (a segment without coordinates, widths out of range, too
  // many).
  static std::string Problem(const std::vector<Segment>& segments);

  const std::vector<Segment>& segments() const { return segments_; }
  uint32_t chunk_count() const { return chunk_count_; }
  uint64_t packed_bytes() const { return packed_bytes_; }
  Chunk chunk(uint32_t index) const;  // index < chunk_count()

 private:
  std::vector<Segment> segments_;
  uint32_t chunk_count_ = 0;
  uint64_t packed_bytes_ = 0;
};

// w = value_bits + ceil(log2 sites): the sum of `sites` values of that many bits never overflows.
uint32_t SumBits(uint32_t value_bits, uint32_t sites);

}  // namespace atl::kernels
