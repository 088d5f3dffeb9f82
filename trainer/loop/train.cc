#include "trainer/loop/train.h"

#include <torch/torch.h>

#include <array>
#include <cmath>

#include "comms/base/status.h"
#include "trainer/data/sampler.h"
#include "trainer/loop/count.h"
#include "trainer/loop/pace.h"
#include "trainer/optim/optimizer.h"
#include "trainer/parallel/agree.h"
#include "trainer/parallel/gradient_reducer.h"
#include "trainer/torch_status.h"

namespace atl::trainer {
namespace {

absl::StatusOr<Metrics> SumOverRanks(const Metrics& mine, Communicator& communicator) {
  // Doubles count exactly up to 2^53.
  std::array<double, 3> sums = {static_cast<double>(mine.examples),
                                static_cast<double>(mine.correct), mine.loss_sum};
  ATOLL_RETURN_IF_ERROR(communicator.AllReduceSum(sums));
  return Metrics{static_cast<uint64_t>(sums[0]), static_cast<uint64_t>(sums[1]), sums[2]};
}

class Trainer {
 public:
  Trainer(Network& network, const TrainJob& job, Communicator& communicator, const LoopHooks& hooks)
      : network_(network),
        job_(job),
        communicator_(communicator),
        hooks_(hooks),
        reducer_(network.parameters(), network.tensors(), communicator,
                 {.bucket_bytes = static_cast<uint64_t>(job.options->bucket_mb * (1 << 20))}),
        optimizer_(MakeOptimizer(job.options->optimizer, network.flat(), reducer_.gradient())),
        pace_(hooks.progress) {}

  absl::StatusOr<Metrics> Run() {
    Metrics metrics;
    network_.SetTraining(true);
    const uint32_t epochs = static_cast<uint32_t>(job_.options->local_epochs);
    for (uint32_t epoch = 0; epoch < epochs; ++epoch) {
      EpochSampler sampler(job_.examples,
                           {.seed = job_.options->seed,
                            .round = job_.round,
                            .epoch = epoch,
                            .site = job_.site,
                            .rank = communicator_.rank(),
                            .ranks = communicator_.size(),
                            .batch_size = static_cast<uint32_t>(job_.options->batch_size)});
      Metrics mine;
      for (uint32_t step = 0; step < sampler.steps(); ++step) {
        const uint32_t done = epoch * sampler.steps() + step + 1, all = epochs * sampler.steps();
        ATOLL_RETURN_IF_ERROR(
            Step(sampler.batch(step), sampler.global_batch(step), epoch, done, all, mine));
        pace_.Step(done, all, sampler.global_batch(step));
      }
      ATOLL_ASSIGN_OR_RETURN(metrics, SumOverRanks(mine, communicator_));
      if (hooks_.epoch_done) ATOLL_RETURN_IF_ERROR(hooks_.epoch_done(epoch, metrics));
    }
    return metrics;
  }

 private:
  absl::Status Step(std::span<const uint32_t> examples, uint32_t global_batch, uint32_t epoch,
                    uint32_t step, uint32_t steps, Metrics& mine) {
    absl::Status problem;
    at::Tensor loss;
    if (!examples.empty()) {
      Outcome outcome = network_.Run(job_.data->MakeBatch(
          examples, {.seed = job_.options->seed, .round = job_.round, .epoch = epoch}));
      Count(outcome, mine);
      if (!std::isfinite(outcome.loss_sum)) {
        problem = absl::AbortedError(absl::StrCat(
            "the loss is ", outcome.loss_sum, " at step ", step, " of ", steps, " on rank ",
            communicator_.rank(), "; a lower train.optimizer.lr may help"));
      }
      loss = outcome.objective / static_cast<double>(global_batch);
    }
    bool stop = hooks_.stop && hooks_.stop();
    reducer_.BeginStep();
    reducer_.LastPass(stop || !problem.ok());
    if (loss.defined()) loss.backward();
    ATOLL_RETURN_IF_ERROR(reducer_.FinishStep());
    if (reducer_.flag_raised()) {
      if (stop) problem.Update(absl::CancelledError("training was stopped"));
      return Agree(communicator_, problem);
    }
    optimizer_->Step();
    return absl::OkStatus();
  }

  Network& network_;
  const TrainJob& job_;
  Communicator& communicator_;
  const LoopHooks& hooks_;
  GradientReducer reducer_;
  std::unique_ptr<LocalOptimizer> optimizer_;
  Pace pace_;
};

}  // namespace

absl::StatusOr<Metrics> TrainLocally(Network& network, const TrainJob& job,
                                     Communicator& communicator, const LoopHooks& hooks) {
  return CatchTorch("training", [&]() -> absl::StatusOr<Metrics> {
    return Trainer(network, job, communicator, hooks).Run();
  });
}

}  // namespace atl::trainer
