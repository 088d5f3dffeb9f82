#include "federation/secagg/sum.h"

#include <algorithm>

#include "comms/base/status.h"
#include "kernels/pack.h"

namespace atl::secagg {

absl::StatusOr<ChunkSummer> ChunkSummer::Create(const kernels::VectorLayout& layout,
                                                uint32_t chunk_index) {
  ChunkSummer summer;
  ATOLL_RETURN_IF_ERROR(summer.Begin(layout, chunk_index));
  return summer;
}

absl::Status ChunkSummer::Begin(const kernels::VectorLayout& layout, uint32_t chunk_index) {
  if (chunk_index >= layout.chunk_count()) {
    return absl::InvalidArgumentError(absl::StrCat("sum: chunk ", chunk_index, ": the vector has ",
                                                   layout.chunk_count(), " chunks"));
  }
  chunk_ = layout.chunk(chunk_index);
  segment_ = layout.segments()[chunk_.segment];
  const uint64_t bytes = chunk_.elements * segment_.lane_bytes();
  if (store_.size() < bytes) store_ = kernels::LaneBuffer(bytes);
  std::ranges::fill(lanes(), uint8_t{0});
  return absl::OkStatus();
}

absl::Status ChunkSummer::Add(ByteView packed) { return Add({&packed, 1}); }

absl::Status ChunkSummer::Add(std::span<const ByteView> packed, std::span<const MaskStream> streams,
                              kernels::MaskCipher cipher) {
  for (const ByteView& vector : packed) {
    if (vector.size() == chunk_.bytes) continue;
    return absl::InvalidArgumentError(absl::StrCat("sum: chunk ", chunk_.index, ": ", vector.size(),
                                                   " bytes, must have ", chunk_.bytes));
  }
  std::vector<kernels::MaskKey> keys = MaskKeysOf(streams, chunk_.segment);
  kernels::AddVectorsAndMasks(lanes(), segment_.lane_bytes(), segment_.sum_bits,
                              chunk_.first_element, packed, keys, cipher);
  WipeKeys(keys);
  return absl::OkStatus();
}

std::span<uint8_t> ChunkSummer::lanes() {
  return std::span(store_).first(chunk_.elements * segment_.lane_bytes());
}

void ChunkSummer::AddStreams(std::span<const MaskStream> streams, kernels::MaskCipher cipher) {
  std::vector<kernels::MaskKey> keys = MaskKeysOf(streams, chunk_.segment);
  kernels::AddMasks(lanes(), segment_.lane_bytes(), chunk_.first_element, keys, cipher);
  WipeKeys(keys);
}

Bytes ChunkSummer::Finish() {
  Bytes packed(chunk_.bytes);
  kernels::PackLanes(lanes(), segment_.lane_bytes(), segment_.sum_bits, chunk_.elements, packed);
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
