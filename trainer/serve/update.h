// A local update on its way out: clipped, weighed, quantised, masked, packed. What leaves these
// functions is what leaves the trainer.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/base/bytes.h"
#include "comms/sitelink/messages.h"
#include "kernels/lane_buffer.h"
#include "kernels/masks.h"
#include "recipes/schema/recipe.h"
#include "trainer/data/sampler.h"
#include "trainer/loop/metrics.h"

namespace atl::trainer {

// INVALID_ARGUMENT unless the segments are those of messages.h for a model of so many parameters;
// FAILED_PRECONDITION when lanes are to leave without masks although the recipe has secure
// aggregation on.
absl::Status CheckRelease(const sitelink::Release& release, const recipes::Recipe& recipe,
                          uint64_t parameters);
// The part of it that is about segments.
absl::Status CheckSegments(const std::vector<kernels::Segment>& segments, uint64_t parameters);

// The loss as the metrics segment carries it. ABORTED, saying what to change, when it is negative,
// not finite or more than the segment holds: training diverges.
absl::StatusOr<int64_t> LossMetric(const Metrics& metrics, const kernels::Segment& segment);

// One rank's keys for one segment, wiped on destruction.
class SegmentKeys {
 public:
  SegmentKeys(const std::vector<sitelink::StreamKey>& keys, uint32_t segment);
  ~SegmentKeys();
  SegmentKeys(const SegmentKeys&) = delete;
  SegmentKeys& operator=(const SegmentKeys&) = delete;
  std::span<const kernels::MaskKey> keys() const { return keys_; }
  bool operator==(const SegmentKeys& other) const;  // in constant time for as many keys

 private:
  std::vector<kernels::MaskKey> keys_;
};

// Whose part of the norm, and with how many threads.
struct NormShare {
  uint32_t rank = 0, ranks = 1;
  uint32_t threads = 1;
};
// ||local - global||^2 of each block of 2^15 coordinates; zeros for other ranks' blocks, so that
// the sum over ranks holds every block's number unchanged.
std::vector<double> UpdateSquares(std::span<const float> local, std::span<const float> global,
                                  const NormShare& share);
// ||local - global||^2 from all blocks', summed in their order: the same whatever the number of
// ranks and threads.
double UpdateSquaredNorm(std::span<const double> squares);
// By one rank alone.
inline double UpdateSquaredNorm(std::span<const float> local, std::span<const float> global,
                                uint32_t threads = 1) {
  return UpdateSquaredNorm(UpdateSquares(local, global, {.threads = threads}));
}

// A rank's coordinates of the update segment: borders are multiples of 64, so that packed slices
// are whole bytes and lanes made in place lie on cache lines.
Range SliceOf(uint64_t length, uint32_t rank, uint32_t ranks);

struct UpdateOptions {
  kernels::Segment segment;
  double factor = 1.0;    // clip factor times weight a_i; the segment's scale comes on top
  Digest rounding_key{};  // of the whole update; a coordinate's rounding depends on its index alone
  Range slice;
  uint32_t threads = 1;  // the result does not depend on it
};

struct UpdateSlice {
  kernels::LaneBuffer packed;  // ceil(slice.size() * sum_bits / 8)
  uint64_t saturated = 0;
  // Spent on masks, expanding keys and adding what was expanded before, by the thread that spent
  // most.
  double mask_s = 0;
};

// Where a slice's masks come from. Without keys and lanes: none, the slice leaves plain.
struct MaskSource {
  std::span<const kernels::MaskKey> keys{};
  // Lanes, the sum of all keys' streams over the slice's first ahead.size() / lane_bytes
  // coordinates, expanded before; the rest is expanded now. At most the slice's coordinates.
  std::span<const uint8_t> ahead{};
  kernels::MaskCipher cipher = kernels::MaskCipher::kAes256Ctr;
};

// `progress` is called, by the calling thread, with (coordinates done, of the slice) from time to
// time. Memory: the packed slice and 256 KiB for each thread.
UpdateSlice MakeUpdateSlice(std::span<const float> local, std::span<const float> global,
                            const UpdateOptions& options, const MaskSource& masks,
                            const std::function<void(uint64_t, uint64_t)>& progress);

// The bytes of `slice` that belong to coordinates [first, first + elements) of the segment; empty
// when there are none.
ByteView PartOfSlice(const UpdateSlice& slice, const Range& range, uint32_t sum_bits,
                     const kernels::Chunk& chunk);

// Values by Metric, saturated at the segment's bound, masked (by keys alone) and packed.
Bytes MakeMetricsSegment(std::span<const int64_t, sitelink::kMetricCount> values,
                         const kernels::Segment& segment, const MaskSource& masks);

}  // namespace atl::trainer
