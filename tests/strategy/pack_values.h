// What a sum of sites' integers looks like when it comes.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/pack.h"
#include "kernels/quantize.h"
#include "kernels/vector_layout.h"

namespace atl::strategy {

// `values` as a segment's packed bytes, sum_bits each.
inline std::vector<uint8_t> Pack(const kernels::Segment& segment,
                                 const std::vector<int64_t>& values) {
  std::vector<uint8_t> lanes(values.size() * segment.lane_bytes());
  for (size_t i = 0; i < values.size(); ++i) {
    kernels::StoreLane(lanes, segment.lane_bytes(), i, values[i]);
  }
  std::vector<uint8_t> packed((values.size() * segment.sum_bits + 7) / 8);
  kernels::PackLanes(lanes, segment.lane_bytes(), segment.sum_bits, values.size(), packed);
  return packed;
}

}  // namespace atl::strategy
