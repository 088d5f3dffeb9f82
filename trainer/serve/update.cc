#include "trainer/serve/update.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "comms/base/secret.h"
#include "comms/base/status.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"

namespace atl::trainer {
namespace {

// Coordinates handled at a time: lanes and floats stay in the L2 cache. A multiple of 8.
constexpr uint64_t kBlock = 1 << 15;

std::span<const float> Difference(std::span<const float> local, std::span<const float> global,
                                  uint64_t first, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = local[first + i] - global[first + i];
  return out;
}

template <typename Lane>
void AddAs(std::span<uint8_t> lanes, const uint8_t* more) {
  for (size_t at = 0; at < lanes.size(); at += sizeof(Lane)) {
    Lane a, b;
    std::memcpy(&a, lanes.data() + at, sizeof(Lane));
    std::memcpy(&b, more + at, sizeof(Lane));
    a = static_cast<Lane>(a + b);
    std::memcpy(lanes.data() + at, &a, sizeof(Lane));
  }
}

// lanes += more, of the same size, mod 2^(8 * lane_bytes).
void AddLanes(std::span<uint8_t> lanes, uint32_t lane_bytes, const uint8_t* more) {
  switch (lane_bytes) {
    case 1:
      return AddAs<uint8_t>(lanes, more);
    case 2:
      return AddAs<uint16_t>(lanes, more);
    case 4:
      return AddAs<uint32_t>(lanes, more);
    default:
      return AddAs<uint64_t>(lanes, more);
  }
}

// Masks of the slice's coordinates from `done` on; `start` is the slice's place in the segment.
void Mask(std::span<uint8_t> lanes, uint32_t lane_bytes, uint64_t start, uint64_t done,
          const MaskSource& masks) {
  const uint64_t at = std::min<uint64_t>(done * lane_bytes, masks.ahead.size());
  const uint64_t ready = std::min<uint64_t>(lanes.size(), masks.ahead.size() - at);
  AddLanes(lanes.first(ready), lane_bytes, masks.ahead.data() + at);
  const std::span<uint8_t> rest = lanes.subspan(ready);
  if (masks.keys.empty() || rest.empty()) return;
  kernels::AddMasks(rest, lane_bytes, start + done + ready / lane_bytes, masks.keys, masks.cipher);
}

uint64_t PackedBytes(uint64_t elements, uint32_t bits) { return (elements * bits + 7) / 8; }

}  // namespace

absl::Status CheckRelease(const sitelink::Release& release, const recipes::Recipe& recipe,
                          uint64_t parameters) {
  if (recipe.secure_aggregation.enabled && !release.masked) {
    return absl::FailedPreconditionError(
        "refused to release an update without masks: the recipe has secure aggregation on");
  }
  if (release.segments.size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("release: ", release.segments.size(), " segments, not 2"));
  }
  const kernels::Segment& metrics = release.segments[sitelink::kMetricsSegment];
  const kernels::Segment& update = release.segments[sitelink::kUpdateSegment];
  if (metrics.length != sitelink::kMetricCount ||
      metrics.value_bits != sitelink::kMetricValueBits || metrics.scale != 1.0) {
    return absl::InvalidArgumentError(
        absl::StrCat("release: a metrics segment of ", metrics.length, " values of ",
                     metrics.value_bits, " bits, scale ", metrics.scale, "; it has ",
                     sitelink::kMetricCount, " of ", sitelink::kMetricValueBits, " bits, scale 1"));
  }
  if (update.length != parameters) {
    return absl::InvalidArgumentError(absl::StrCat("release: an update of ", update.length,
                                                   " coordinates; the model has ", parameters));
  }
  return absl::OkStatus();
}

SegmentKeys::SegmentKeys(const std::vector<sitelink::StreamKey>& keys, uint32_t segment) {
  keys_.reserve(keys.size());  // a vector that grew would leave copies behind
  for (const sitelink::StreamKey& key : keys) {
    if (key.segment != segment) continue;
    kernels::MaskKey& out = keys_.emplace_back();
    std::copy_n(key.key.data(), out.key.size(), out.key.begin());
    out.subtract = key.subtract;
  }
}

SegmentKeys::~SegmentKeys() {
  for (kernels::MaskKey& key : keys_) Wipe(key.key);
}

double UpdateSquaredNorm(std::span<const float> local, std::span<const float> global) {
  std::vector<float> block(std::min<uint64_t>(kBlock, local.size()));
  double sum = 0;
  for (uint64_t first = 0; first < local.size(); first += kBlock) {
    auto part = std::span(block).first(std::min<uint64_t>(kBlock, local.size() - first));
    sum += kernels::SquaredNorm(Difference(local, global, first, part));
  }
  return sum;
}

Range SliceOf(uint64_t length, uint32_t rank, uint32_t ranks) {
  Range groups = PartOf((length + 7) / 8, rank, ranks);
  return {std::min(groups.first * 8, length), std::min(groups.last * 8, length)};
}

UpdateSlice MakeUpdateSlice(std::span<const float> local, std::span<const float> global,
                            const UpdateOptions& options, const MaskSource& masks,
                            const std::function<void(uint64_t, uint64_t)>& progress) {
  const kernels::Segment& segment = options.segment;
  const uint32_t lane_bytes = segment.lane_bytes();
  const uint64_t size = options.slice.size();
  UpdateSlice out;
  out.packed.resize(PackedBytes(size, segment.sum_bits));
  std::vector<float> values(std::min(kBlock, size));
  std::vector<uint64_t> lane_store((std::min(kBlock, size) * lane_bytes + 7) /
                                   8);  // aligned for every lane width
  for (uint64_t done = 0; done < size; done += kBlock) {
    const uint64_t count = std::min(kBlock, size - done), first = options.slice.first + done;
    std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(lane_store.data()), count * lane_bytes);
    kernels::QuantizeOptions quantize{.factor = options.factor * segment.scale,
                                      .bound = segment.bound(),
                                      .lane_bytes = lane_bytes,
                                      .rounding_key = options.rounding_key,
                                      .first_element = first};
    out.saturated += kernels::QuantizeStochastic(
        Difference(local, global, first, std::span(values).first(count)), quantize, lanes);
    const auto before = std::chrono::steady_clock::now();
    Mask(lanes, lane_bytes, options.slice.first, done, masks);
    out.mask_s += std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
    // kBlock is a multiple of 8, so every block starts at a whole byte.
    kernels::PackLanes(
        lanes, lane_bytes, segment.sum_bits, count,
        std::span(out.packed)
            .subspan(done * segment.sum_bits / 8, PackedBytes(count, segment.sum_bits)));
    if (progress) progress(done + count, size);
  }
  return out;
}

ByteView PartOfSlice(const UpdateSlice& slice, const Range& range, uint32_t sum_bits,
                     const kernels::Chunk& chunk) {
  uint64_t first = std::max(range.first, chunk.first_element);
  uint64_t last = std::min(range.last, chunk.first_element + chunk.elements);
  if (first >= last) return {};
  // Both borders are multiples of 8 coordinates, or the segment's end.
  return ByteView(slice.packed)
      .subspan((first - range.first) * sum_bits / 8, PackedBytes(last - first, sum_bits));
}

Bytes MakeMetricsSegment(std::span<const int64_t, sitelink::kMetricCount> values,
                         const kernels::Segment& segment, const MaskSource& masks) {
  std::array<uint64_t, sitelink::kMetricCount> store{};
  const uint32_t lane_bytes = segment.lane_bytes();
  std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(store.data()),
                           sitelink::kMetricCount * lane_bytes);
  for (size_t i = 0; i < values.size(); ++i) {
    kernels::StoreLane(lanes, lane_bytes, i,
                       std::clamp(values[i], -segment.bound(), segment.bound()));
  }
  if (!masks.keys.empty()) kernels::AddMasks(lanes, lane_bytes, 0, masks.keys, masks.cipher);
  Bytes packed(PackedBytes(values.size(), segment.sum_bits));
  kernels::PackLanes(lanes, lane_bytes, segment.sum_bits, values.size(), packed);
  return packed;
}

}  // namespace atl::trainer
