// Clipping a gradient by its norm (Pascanu et al., 1211.5063), the same bits whoever adds it up.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/collectives/communicator.h"

namespace atl::trainer {

// The sum of squares of values, in double, in an order that depends on their number alone.
double SumOfSquares(std::span<const float> values);

// Of the gradient, of which each rank owns some ranges (owned[r]: rank r's). The sum goes over the
// ranks' sums, in order of rank, so that it has the same bits where every rank computes all of them
// and where each computes its own.
double SumOfSquares(std::span<const float> gradient, const std::vector<std::vector<Shard>>& owned);
// The latter: `gradient` need only be right where this rank owns it. Called by all ranks; errors
// are the communicator's.
absl::StatusOr<double> SumOfSquaresOverRanks(std::span<const float> gradient,
                                             const std::vector<std::vector<Shard>>& owned,
                                             Communicator& communicator);

// What a gradient of this L2 norm is multiplied by so that it has at most max_norm: in (0, 1], and
// 1 where max_norm is 0 (no clipping).
float ClipScale(double norm_l2, double max_norm);

}  // namespace atl::trainer
