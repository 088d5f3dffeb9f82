#include "federation/secagg/sum.h"

#include "comms/base/status.h"
#include "kernels/pack.h"

namespace atl::secagg {

absl::StatusOr<ChunkSummer> ChunkSummer::Create(const kernels::VectorLayout& layout,
                                                uint32_t chunk_index) {
  if (chunk_index >= layout.chunk_count()) {
    return absl::InvalidArgumentError(absl::StrCat("sum: chunk ", chunk_index, ": the vector has ",
                                                   layout.chunk_count(), " chunks"));
  }
  ChunkSummer summer;
  summer.chunk_ = layout.chunk(chunk_index);
  summer.segment_ = layout.segments()[summer.chunk_.segment];
  summer.lanes_.assign(summer.chunk_.elements * summer.segment_.lane_bytes(), 0);
  return summer;
}

absl::Status ChunkSummer::Add(ByteView packed) {
  if (packed.size() != chunk_.bytes) {
    return absl::InvalidArgumentError(absl::StrCat("sum: chunk ", chunk_.index, ": ", packed.size(),
                                                   " bytes, must have ", chunk_.bytes));
  }
  kernels::AddPacked(packed, segment_.lane_bytes(), segment_.sum_bits, chunk_.elements, lanes_);
  return absl::OkStatus();
}

Bytes ChunkSummer::Finish(std::span<const MaskStream> streams, kernels::MaskCipher cipher) {
  std::vector<kernels::MaskKey> keys = MaskKeysOf(streams, chunk_.segment);
  kernels::AddMasks(lanes_, segment_.lane_bytes(), chunk_.first_element, keys, cipher);
  WipeKeys(keys);
  Bytes packed(chunk_.bytes);
  kernels::PackLanes(lanes_, segment_.lane_bytes(), segment_.sum_bits, chunk_.elements, packed);
  return packed;
}

std::vector<kernels::MaskKey> MaskKeysOf(std::span<const MaskStream> streams, uint32_t segment) {
  std::vector<kernels::MaskKey> keys;
  keys.reserve(streams.size());  // never moves, so that no copy stays behind
  for (const MaskStream& stream : streams) {
    if (stream.segment != segment) continue;
    kernels::MaskKey& key = keys.emplace_back();
    std::copy(stream.key.span().begin(), stream.key.span().end(), key.key.begin());
    key.subtract = stream.subtract;
  }
  return keys;
}

void WipeKeys(std::span<kernels::MaskKey> keys) {
  for (kernels::MaskKey& key : keys) Wipe(key.key);
}

}  // namespace atl::secagg
