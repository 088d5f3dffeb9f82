// The server's step: from the packed sum of a round to the next model, chunk by chunk. Coordinator
// and sites run the very same operations in the same order (no contraction to fused multiply-add),
// so that they get the same bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/vector_layout.h"

namespace atl::strategy {

struct FedAvgOptions {
  kernels::Segment segment;  // of the update
  // Sum over the survivors of a_i = min(n_i, W) / W, the weights their updates came with; > 0. For
  // rule `uniform` their number.
  double total_weight = 0;
  double server_lr = 1.0;  // finite
};

// Federated averaging (McMahan et al., AISTATS 2017) of one chunk: next = model + server_lr * sum /
// (scale * total_weight), in double precision up to the step, which is rounded to float and then
// added.
//   model, next: [elements] coordinates of the chunk; may be the same memory
//   packed_sum:  ceil(elements * sum_bits / 8) bytes, the chunk of the sum over the survivors mod
//   2^sum_bits
// INVALID_ARGUMENT for sizes that do not fit, widths out of range, or a weight or rate out of
// range.
absl::Status ApplyFedAvg(std::span<const float> model, std::span<const uint8_t> packed_sum,
                         const FedAvgOptions& options, std::span<float> next);

// The integers in a packed segment, sign-extended from sum_bits, in order: the sums of the metrics
// (counts as they are; what a unit of each is, is for who defined the segment). INVALID_ARGUMENT
// when the size is not packed_bytes(), or for more than 2^16 coordinates.
absl::StatusOr<std::vector<int64_t>> DecodeIntegers(std::span<const uint8_t> packed,
                                                    const kernels::Segment& segment);

// Sum of the a_i from the metrics segment's sum of min(n_i, W). INVALID_ARGUMENT unless 0 <
// weight_sum <= survivors * W.
absl::StatusOr<double> TotalWeight(int64_t weight_sum, uint64_t weight_max, uint32_t survivors);

}  // namespace atl::strategy
