#include "federation/strategy/strategy.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/pack.h"
#include "kernels/quantize.h"

namespace atl::strategy {
namespace {

constexpr uint64_t kIntegersMax = 1 << 16;
constexpr uint64_t kBlockElements =
    1 << 12;  // lanes and steps of a block stay in the cache; a multiple of 8

absl::Status CheckWidths(const kernels::Segment& segment) {
  const std::string problem = kernels::VectorLayout::Problem({segment});
  if (problem.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("strategy: ", problem));
}

absl::Status CheckBytes(uint64_t bytes, uint64_t elements, uint32_t sum_bits) {
  const uint64_t expected = (elements * sum_bits + 7) / 8;
  if (bytes == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("strategy: a packed sum of ", bytes,
                                                 " bytes: must have ", expected, " for ", elements,
                                                 " coordinates of ", sum_bits, " bits"));
}

}  // namespace

absl::Status ApplyFedAvg(std::span<const float> model, std::span<const uint8_t> packed_sum,
                         const FedAvgOptions& options, std::span<float> next) {
  const kernels::Segment& segment = options.segment;
  if (absl::Status status = CheckWidths(segment); !status.ok()) return status;
  if (model.size() != next.size() || model.size() > segment.length) {
    return absl::InvalidArgumentError(absl::StrCat("strategy: ", model.size(), " coordinates in, ",
                                                   next.size(), " out, the segment has ",
                                                   segment.length));
  }
  if (absl::Status status = CheckBytes(packed_sum.size(), model.size(), segment.sum_bits);
      !status.ok()) {
    return status;
  }
  if (!std::isfinite(options.total_weight) || options.total_weight <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("strategy: total_weight ", options.total_weight, ": must be > 0"));
  }
  if (!std::isfinite(options.server_lr)) {
    return absl::InvalidArgumentError("strategy: server_lr is not finite");
  }
  if (!std::isfinite(segment.scale) || segment.scale <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("strategy: scale ", segment.scale, ": must be > 0"));
  }
  const double step_of_one = options.server_lr / (segment.scale * options.total_weight);
  const uint32_t lane_bytes = segment.lane_bytes();
  std::vector<uint8_t> lanes(kBlockElements * lane_bytes);
  std::vector<float> steps(kBlockElements);
  for (uint64_t first = 0; first < model.size(); first += kBlockElements) {
    const uint64_t count = std::min<uint64_t>(kBlockElements, model.size() - first);
    const std::span<uint8_t> block(lanes.data(), count * lane_bytes);
    // Blocks begin at whole bytes, because first is a multiple of 8.
    const auto packed =
        packed_sum.subspan(first * segment.sum_bits / 8, (count * segment.sum_bits + 7) / 8);
    kernels::UnpackLanes(packed, lane_bytes, segment.sum_bits, count, block);
    kernels::Dequantize(block, lane_bytes, segment.sum_bits, step_of_one, {steps.data(), count});
    for (uint64_t i = 0; i < count; ++i) next[first + i] = model[first + i] + steps[i];
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> DecodeIntegers(std::span<const uint8_t> packed,
                                                    const kernels::Segment& segment) {
  if (absl::Status status = CheckWidths(segment); !status.ok()) return status;
  if (segment.length > kIntegersMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("strategy: ", segment.length, " integers: must be <= ", kIntegersMax));
  }
  if (absl::Status status = CheckBytes(packed.size(), segment.length, segment.sum_bits);
      !status.ok()) {
    return status;
  }
  const uint32_t lane_bytes = segment.lane_bytes();
  std::vector<uint8_t> lanes(segment.length * lane_bytes);
  kernels::UnpackLanes(packed, lane_bytes, segment.sum_bits, segment.length, lanes);
  std::vector<int64_t> values(segment.length);
  for (uint64_t i = 0; i < segment.length; ++i) {
    values[i] = kernels::SignedLane(lanes, lane_bytes, segment.sum_bits, i);
  }
  return values;
}

absl::StatusOr<double> TotalWeight(int64_t weight_sum, uint64_t weight_max, uint32_t survivors) {
  if (weight_max == 0 || weight_sum <= 0 ||
      static_cast<double>(weight_sum) > static_cast<double>(weight_max) * survivors) {
    return absl::InvalidArgumentError(absl::StrCat("strategy: a sum of weights of ", weight_sum,
                                                   ": must be in [1, ", survivors, " * ",
                                                   weight_max, "]"));
  }
  return static_cast<double>(weight_sum) / static_cast<double>(weight_max);
}

}  // namespace atl::strategy
