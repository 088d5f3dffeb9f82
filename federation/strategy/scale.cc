#include "federation/strategy/scale.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/pack.h"

namespace atl::strategy {
namespace {

constexpr uint32_t kSumBitsMax = 48;
constexpr uint64_t kBlockElements = 1 << 12;  // a multiple of 8
// Squares of so many bits add up over a block in 64.
constexpr uint32_t kNarrowBits = 26;

template <typename Lane, typename Sum>
Sum SquaresOf(std::span<const uint8_t> lanes, uint32_t sum_bits) {
  const Lane* const values = reinterpret_cast<const Lane*>(lanes.data());
  const uint32_t shift = 64 - sum_bits;
  Sum sum = 0;
  for (size_t i = 0; i < lanes.size() / sizeof(Lane); ++i) {
    const int64_t value = static_cast<int64_t>(uint64_t{values[i]} << shift) >> shift;
    const auto size = static_cast<uint64_t>(value < 0 ? -value : value);
    sum += static_cast<Sum>(size) * size;
  }
  return sum;
}

}  // namespace

ScaleRule ScaleRuleOf(std::string_view name) {
  return name == "last_aggregate" ? ScaleRule::kLastAggregate : ScaleRule::kClip;
}

absl::Status SumOfSquares::Add(std::span<const uint8_t> packed, uint64_t elements,
                               const kernels::Segment& segment) {
  const uint32_t bits = segment.sum_bits;
  if (bits < 2 || bits > kSumBitsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("scale: sum_bits ", bits, ": must be in [2, ", kSumBitsMax, "]"));
  }
  if (packed.size() != (elements * bits + 7) / 8) {
    return absl::InvalidArgumentError(absl::StrCat(
        "scale: a packed sum of ", packed.size(), " bytes: must have ", (elements * bits + 7) / 8));
  }
  const uint32_t lane_bytes = segment.lane_bytes();
  std::vector<uint64_t> store(kBlockElements * lane_bytes / 8);
  for (uint64_t first = 0; first < elements; first += kBlockElements) {
    const uint64_t count = std::min(kBlockElements, elements - first);
    const std::span<uint8_t> lanes(reinterpret_cast<uint8_t*>(store.data()), count * lane_bytes);
    kernels::UnpackLanes(packed.subspan(first * bits / 8, (count * bits + 7) / 8), lane_bytes, bits,
                         count, lanes);
    if (lane_bytes == 1) {
      sum_ += SquaresOf<uint8_t, uint64_t>(lanes, bits);
    } else if (lane_bytes == 2) {
      sum_ += SquaresOf<uint16_t, uint64_t>(lanes, bits);
    } else if (bits <= kNarrowBits) {
      sum_ += SquaresOf<uint32_t, uint64_t>(lanes, bits);
    } else if (lane_bytes == 4) {
      sum_ += SquaresOf<uint32_t, Wide>(lanes, bits);
    } else {
      sum_ += SquaresOf<uint64_t, Wide>(lanes, bits);
    }
  }
  return absl::OkStatus();
}

void SumOfSquares::Add(const SumOfSquares& other) { sum_ += other.sum_; }

double SumOfSquares::value() const { return static_cast<double>(sum_); }

double NextRange(const SumOfSquares& squares, const kernels::Segment& segment, uint32_t survivors) {
  const double mean_square = squares.value() / static_cast<double>(segment.length);
  return kRangeFactor * std::sqrt(mean_square) / (segment.scale * survivors);
}

double RangeOf(ScaleRule rule, double clip, double next_range) {
  if (rule == ScaleRule::kClip || !(next_range > 0)) return clip;
  return std::clamp(next_range, kRangeOfClipMin * clip, clip);
}

double ScaleOf(const kernels::Segment& segment, double range) {
  return static_cast<double>(segment.bound()) / range;
}

}  // namespace atl::strategy
