#include "trainer/optim/clip.h"

#include <array>

#include "comms/base/status.h"

namespace atl::trainer {
namespace {

double SumOfSquares(std::span<const float> gradient, const std::vector<Shard>& parts) {
  double sum = 0;
  for (const Shard& part : parts)
    sum += trainer::SumOfSquares(gradient.subspan(part.first, part.size()));
  return sum;
}

}  // namespace

double SumOfSquares(std::span<const float> values) {
  // Several sums side by side, which need not wait for each other.
  constexpr size_t kLanes = 8;
  std::array<double, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      sums[lane] += value * value;
    }
  }
  for (; i < values.size(); ++i) sums[0] += static_cast<double>(values[i]) * values[i];
  double sum = 0;
  for (double lane : sums) sum += lane;
  return sum;
}

double SumOfSquares(std::span<const float> gradient, const std::vector<std::vector<Shard>>& owned) {
  double sum = 0;
  for (const std::vector<Shard>& parts : owned) sum += SumOfSquares(gradient, parts);
  return sum;
}

absl::StatusOr<double> SumOfSquaresOverRanks(std::span<const float> gradient,
                                             const std::vector<std::vector<Shard>>& owned,
                                             Communicator& communicator) {
  // Each rank's sum in a place of its own: adding zeros rounds nothing, in whatever order.
  std::vector<double> sums(communicator.size(), 0.0);
  sums[communicator.rank()] = SumOfSquares(gradient, owned[communicator.rank()]);
  ATOLL_RETURN_IF_ERROR(communicator.AllReduceSum(sums));
  double sum = 0;
  for (double rank : sums) sum += rank;
  return sum;
}

float ClipScale(double norm_l2, double max_norm) {
  if (max_norm <= 0 || norm_l2 <= max_norm) return 1.0f;
  return static_cast<float>(max_norm / norm_l2);
}

}  // namespace atl::trainer
