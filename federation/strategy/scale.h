// The public rule for the scale at which updates are quantised: q = round(x * scale), |q| <= B, so
// that B / scale, the range, is the largest value that fits. Coordinator and sites work it out with
// the very same operations from what both have, and so get the same bits.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "kernels/vector_layout.h"

namespace atl::strategy {

enum class ScaleRule : uint8_t { kClip, kLastAggregate };
// As recipes name them: "clip", "last_aggregate".
ScaleRule ScaleRuleOf(std::string_view name);

// Sum of the squares of a sum's integers. Exact, so that chunks may be added in any order and by
// any thread's own sum. Holds 2^34 squares of integers of 48 bits.
class SumOfSquares {
 public:
  // Coordinates [0, elements) of a packed chunk of the sum, sign-extended from sum_bits.
  // INVALID_ARGUMENT for another size than theirs, or sum_bits over 48.
  absl::Status Add(std::span<const uint8_t> packed, uint64_t elements,
                   const kernels::Segment& segment);
  void Add(const SumOfSquares& other);
  double value() const;  // rounded to the nearest

 private:
  __extension__ typedef unsigned __int128 Wide;
  Wide sum_ = 0;
};

// Of the sites' mean quantised value, so many root mean squares make up the next round's range.
inline constexpr double kRangeFactor = 64;
// A range is never under this part of the clip.
inline constexpr double kRangeOfClipMin = 1e-6;

// The next round's range under rule last_aggregate, before the clip bounds it: kRangeFactor times
// the root mean square of sum / (scale * survivors). 0 for a sum of zeros.
double NextRange(const SumOfSquares& squares, const kernels::Segment& segment, uint32_t survivors);

// A round's range. kClip: the clip, so that a vector at the clip in one coordinate alone still
// fits. kLastAggregate: the NextRange of the round before, within [kRangeOfClipMin, 1] * clip; the
// clip where there is none (0).
double RangeOf(ScaleRule rule, double clip, double next_range);

// B / range.
double ScaleOf(const kernels::Segment& segment, double range);

}  // namespace atl::strategy
