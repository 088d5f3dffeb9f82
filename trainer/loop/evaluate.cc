#include "trainer/loop/evaluate.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <array>
#include <numeric>

#include "comms/base/status.h"
#include "trainer/data/sampler.h"
#include "trainer/loop/count.h"
#include "trainer/loop/pace.h"
#include "trainer/loop/precision.h"
#include "trainer/parallel/agree.h"
#include "trainer/torch_status.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kBatch = 250;

struct Part {
  Metrics metrics;
  bool stopped = false;
};

Part EvaluatePart(Network& network, const Dataset& data, Range range, uint32_t ranks,
                  const LoopHooks& hooks) {
  torch::InferenceMode inference;
  Part part;
  Pace pace(hooks.progress);
  std::vector<uint32_t> indices;
  const uint32_t steps = static_cast<uint32_t>((range.size() + kBatch - 1) / kBatch);
  for (uint32_t step = 0; step < steps; ++step) {
    part.stopped = hooks.stop && hooks.stop();
    if (part.stopped) break;
    uint64_t first = range.first + step * kBatch;
    indices.resize(std::min(kBatch, range.last - first));
    std::iota(indices.begin(), indices.end(), static_cast<uint32_t>(first));
    Count(network.Run(data.MakeBatch(indices, Draw{})), part.metrics);
    pace.Step(step + 1, steps, indices.size() * ranks);
  }
  return part;
}

}  // namespace

absl::StatusOr<Metrics> Evaluate(Network& network, const Dataset& data,
                                 recipes::Precision precision, Communicator& communicator,
                                 const LoopHooks& hooks) {
  return CatchTorch("evaluating", [&]() -> absl::StatusOr<Metrics> {
    Range range = PartOf(data.size(), communicator.rank(), communicator.size());
    network.SetTraining(false);
    PrecisionScope scope(precision);
    Part part = EvaluatePart(network, data, range, communicator.size(), hooks);
    std::array<double, 4> sums = {static_cast<double>(part.metrics.examples),
                                  static_cast<double>(part.metrics.correct), part.metrics.loss_sum,
                                  part.stopped ? 1.0 : 0.0};
    ATOLL_RETURN_IF_ERROR(communicator.AllReduceSum(sums));
    if (sums[3] > 0) return Alike(absl::CancelledError("evaluation was stopped"));
    return Metrics{static_cast<uint64_t>(sums[0]), static_cast<uint64_t>(sums[1]), sums[2]};
  });
}

}  // namespace atl::trainer
