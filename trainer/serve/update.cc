#include "trainer/serve/update.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <numeric>
#include <thread>

#include "comms/base/secret.h"
#include "comms/base/status.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kNormBlock = 1 << 15;  // coordinates

// Lanes handled at a time. Keys are expanded over blocks that fit the second-level cache, because
// each costs some set-up; where all masks are there already, the first-level cache is enough.
// Blocks are those of the segment, whatever the slice, so that AddMasks need not cut them.
constexpr uint64_t kBlockBytes = 1 << 18;
constexpr uint64_t kAheadBlockBytes = 1 << 14;

uint64_t PackedBytes(uint64_t elements, uint32_t bits) { return (elements * bits + 7) / 8; }

// Runs `work(thread)` for 0 <= thread < threads; 0 on the calling one.
void OnThreads(uint64_t threads, const std::function<void(uint64_t)>& work) {
  std::vector<std::jthread> others;
  for (uint64_t thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
  work(0);
}  // joined here

struct UpdateVectors {
  std::span<const float> local, global;
};

// One thread's way through the blocks of a slice.
class SliceMaker {
 public:
  SliceMaker(const UpdateVectors& vectors, const UpdateOptions& options, const MaskSource& masks,
             std::span<uint8_t> packed)
      : vectors_(vectors),
        options_(options),
        masks_(masks),
        packed_(packed),
        lane_bytes_(options.segment.lane_bytes()),
        in_place_(options.segment.sum_bits == 8 * lane_bytes_) {}

  // Coordinates [first, last) of the segment; borders are multiples of 8 or the slice's.
  void Make(const Range& range) {
    const kernels::Segment& segment = options_.segment;
    const uint64_t done = range.first - options_.slice.first;
    const std::span<uint8_t> out =
        packed_.subspan(done * segment.sum_bits / 8, PackedBytes(range.size(), segment.sum_bits));
    // Lanes without unused bits are what is sent.
    if (!in_place_ && scratch_.size() == 0) scratch_ = kernels::LaneBuffer(kBlockBytes);
    const std::span<uint8_t> lanes =
        in_place_ ? out : std::span<uint8_t>(scratch_).first(range.size() * lane_bytes_);
    const kernels::QuantizeOptions quantize{.factor = options_.factor * segment.scale,
                                            .bound = segment.bound(),
                                            .lane_bytes = lane_bytes_,
                                            .rounding_key = options_.rounding_key,
                                            .first_element = range.first};
    saturated_ += kernels::QuantizeStochastic(vectors_.local.subspan(range.first, range.size()),
                                              vectors_.global.subspan(range.first, range.size()),
                                              quantize, lanes);
    const auto before = std::chrono::steady_clock::now();
    Mask(lanes, range, done);
    mask_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
    if (!in_place_) {
      kernels::PackLanes(lanes, lane_bytes_, segment.sum_bits, range.size(), out);
    }
  }

  uint64_t saturated() const { return saturated_; }
  double mask_s() const { return mask_s_; }

 private:
  // `done`: coordinates of the slice before the range.
  void Mask(std::span<uint8_t> lanes, const Range& range, uint64_t done) const {
    const uint64_t at = std::min<uint64_t>(done * lane_bytes_, masks_.ahead.size());
    const uint64_t ready = std::min<uint64_t>(lanes.size(), masks_.ahead.size() - at) / lane_bytes_;
    // Fields as wide as lanes: added as they are.
    kernels::AddPacked(masks_.ahead.subspan(at, ready * lane_bytes_), lane_bytes_, 8 * lane_bytes_,
                       ready, lanes.first(ready * lane_bytes_));
    const std::span<uint8_t> rest = lanes.subspan(ready * lane_bytes_);
    if (masks_.keys.empty() || rest.empty()) return;
    kernels::AddMasks(rest, lane_bytes_, range.first + ready, masks_.keys, masks_.cipher);
  }

  const UpdateVectors& vectors_;
  const UpdateOptions& options_;
  const MaskSource& masks_;
  const std::span<uint8_t> packed_;
  const uint32_t lane_bytes_;
  const bool in_place_;
  kernels::LaneBuffer scratch_;
  uint64_t saturated_ = 0;
  double mask_s_ = 0;
};

}  // namespace

absl::Status CheckRelease(const sitelink::Release& release, const recipes::Recipe& recipe,
                          uint64_t parameters) {
  if (recipe.secure_aggregation.enabled && !release.masked) {
    return absl::FailedPreconditionError(
        "refused to release an update without masks: the recipe has secure aggregation on");
  }
  return CheckSegments(release.segments, parameters);
}

absl::Status CheckSegments(const std::vector<kernels::Segment>& segments, uint64_t parameters) {
  if (segments.size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("release: ", segments.size(), " segments, not 2"));
  }
  const kernels::Segment& metrics = segments[sitelink::kMetricsSegment];
  const kernels::Segment& update = segments[sitelink::kUpdateSegment];
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

absl::StatusOr<int64_t> LossMetric(const Metrics& metrics, const kernels::Segment& segment) {
  const double units = metrics.loss_sum * sitelink::kLossUnit;
  const auto bound = static_cast<double>(segment.bound());
  if (units >= 0 && units <= bound) return std::llround(units);  // also: is a number
  return absl::AbortedError(
      absl::StrCat("the loss over ", metrics.examples, " examples comes to ", metrics.loss_sum,
                   ", must be in [0, ", bound / sitelink::kLossUnit,
                   "]: training diverges; a lower train.optimizer.lr may help"));
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

bool SegmentKeys::operator==(const SegmentKeys& other) const {
  if (keys_.size() != other.keys_.size()) return false;
  uint8_t difference = 0;
  for (size_t k = 0; k < keys_.size(); ++k) {
    for (size_t i = 0; i < keys_[k].key.size(); ++i) {
      difference |= keys_[k].key[i] ^ other.keys_[k].key[i];
    }
    difference |= static_cast<uint8_t>(keys_[k].subtract != other.keys_[k].subtract);
  }
  return difference == 0;
}

std::vector<double> UpdateSquares(std::span<const float> local, std::span<const float> global,
                                  const NormShare& share) {
  std::vector<double> squares((local.size() + kNormBlock - 1) / kNormBlock);
  const Range mine = PartOf(squares.size(), share.rank, share.ranks);
  const uint32_t threads = std::max(1u, share.threads);
  OnThreads(threads, [&](uint64_t thread) {
    const Range part = PartOf(mine.size(), static_cast<uint32_t>(thread), threads);
    for (uint64_t block = mine.first + part.first; block < mine.first + part.last; ++block) {
      const uint64_t first = block * kNormBlock;
      const uint64_t count = std::min(kNormBlock, local.size() - first);
      squares[block] =
          kernels::SquaredDistance(local.subspan(first, count), global.subspan(first, count));
    }
  });
  return squares;
}

double UpdateSquaredNorm(std::span<const double> squares) {
  return std::accumulate(squares.begin(), squares.end(), 0.0);
}

Range SliceOf(uint64_t length, uint32_t rank, uint32_t ranks) {
  Range groups = PartOf((length + 63) / 64, rank, ranks);
  return {std::min(groups.first * 64, length), std::min(groups.last * 64, length)};
}

UpdateSlice MakeUpdateSlice(std::span<const float> local, std::span<const float> global,
                            const UpdateOptions& options, const MaskSource& masks,
                            const std::function<void(uint64_t, uint64_t)>& progress) {
  const Range& slice = options.slice;
  const uint64_t lane_bytes = options.segment.lane_bytes();
  UpdateSlice out;
  out.packed = kernels::LaneBuffer(PackedBytes(slice.size(), options.segment.sum_bits));
  if (slice.size() == 0) return out;
  const UpdateVectors vectors{local, global};
  const bool all_ahead = masks.ahead.size() == slice.size() * lane_bytes;
  const uint64_t block = (all_ahead ? kAheadBlockBytes : kBlockBytes) / lane_bytes;
  const uint64_t last_block = (slice.last - 1) / block;
  // Each thread takes the next block when it is through with one: cores are rarely equally busy.
  std::atomic<uint64_t> next = slice.first / block, done = 0;
  std::mutex mutex;  // of out's numbers
  OnThreads(std::clamp<uint64_t>(options.threads, 1, last_block - next + 1), [&](uint64_t thread) {
    SliceMaker maker(vectors, options, masks, out.packed);
    for (uint64_t index = next++; index <= last_block; index = next++) {
      const Range range{std::max(slice.first, index * block),
                        std::min(slice.last, (index + 1) * block)};
      maker.Make(range);
      const uint64_t now = done += range.size();
      if (progress && thread == 0) progress(now, slice.size());
    }
    const std::lock_guard lock(mutex);
    out.saturated += maker.saturated();
    out.mask_s = std::max(out.mask_s, maker.mask_s());
  });
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
