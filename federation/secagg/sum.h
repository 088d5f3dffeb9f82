// One chunk of the sum: the survivors' masked chunks added up, the streams that did not cancel
// taken off. Memory is that of one chunk, whatever the number of sites.
#pragma once

#include <span>

#include "comms/base/bytes.h"
#include "federation/secagg/site_slot.h"
#include "kernels/lane_buffer.h"
#include "kernels/masks.h"
#include "kernels/vector_layout.h"

namespace atl::secagg {

// Sums one chunk after the other: Begin, Add and AddStreams, Finish. Chunks are independent of
// each other: different ones may be summed by different threads, each with a summer of its own. Not
// thread-safe. Owns its lanes (elements * lane_bytes bytes), whose memory it keeps for the next
// chunk.
class ChunkSummer {
 public:
  // A summer at this chunk. INVALID_ARGUMENT when the layout has no such chunk.
  static absl::StatusOr<ChunkSummer> Create(const kernels::VectorLayout& layout,
                                            uint32_t chunk_index);
  // Forgets what was added and starts with another chunk. INVALID_ARGUMENT as Create.
  absl::Status Begin(const kernels::VectorLayout& layout, uint32_t chunk_index);

  // One site's packed chunk. INVALID_ARGUMENT when it has another size than chunk().bytes.
  absl::Status Add(ByteView packed);
  // Several of them and `streams`, faster than one after the other. As above; nothing is added
  // then.
  absl::Status Add(std::span<const ByteView> packed, std::span<const MaskStream> streams = {},
                   kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr);
  // Those of chunk().segment; others are passed over.
  void AddStreams(std::span<const MaskStream> streams, kernels::MaskCipher cipher);
  // The sum mod 2^sum_bits, chunk().bytes bytes. Once after each Begin.
  Bytes Finish();

  const kernels::Chunk& chunk() const { return chunk_; }

 private:
  ChunkSummer() = default;
  std::span<uint8_t> lanes();  // the chunk's

  kernels::Segment segment_;
  kernels::Chunk chunk_;
  kernels::LaneBuffer store_;
};

// The streams of one segment as the kernels take them; what a trainer and ChunkSummer give to
// AddMasks. Wipe them.
std::vector<kernels::MaskKey> MaskKeysOf(std::span<const MaskStream> streams, uint32_t segment);
void WipeKeys(std::span<kernels::MaskKey> keys);

}  // namespace atl::secagg
