#include "trainer/loop/train.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "comms/base/random.h"
#include "comms/base/status.h"
#include "trainer/data/prefetch.h"
#include "trainer/data/sampler.h"
#include "trainer/gpu/device_replica.h"
#include "trainer/loop/count.h"
#include "trainer/loop/pace.h"
#include "trainer/loop/precision.h"
#include "trainer/optim/clip.h"
#include "trainer/optim/optimizer.h"
#include "trainer/optim/schedule.h"
#include "trainer/parallel/agree.h"
#include "trainer/parallel/gradient_reducer.h"
#include "trainer/torch_status.h"

namespace atl::trainer {
namespace {

constexpr size_t kStepsAhead = 2;  // whose batches are made before they are used

absl::StatusOr<Metrics> SumOverRanks(const Metrics& mine, Communicator& communicator) {
  // Doubles count exactly up to 2^53.
  std::array<double, 3> sums = {static_cast<double>(mine.examples),
                                static_cast<double>(mine.correct), mine.loss_sum};
  ATOLL_RETURN_IF_ERROR(communicator.AllReduceSum(sums));
  return Metrics{static_cast<uint64_t>(sums[0]), static_cast<uint64_t>(sums[1]), sums[2]};
}

// SplitMix64's finaliser (Steele et al., 2014): every bit of the result depends on every bit of x.
uint64_t MixBits(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::span<float> ValuesOf(const at::Tensor& flat) {
  return {flat.data_ptr<float>(), static_cast<size_t>(flat.numel())};
}

// What each rank owns of the sum when it is scattered.
Ownership Shares(const GradientReducer& reducer, uint32_t ranks) {
  Ownership shares;
  for (uint32_t rank = 0; rank < ranks; ++rank) shares.push_back(reducer.shares(rank));
  return shares;
}

Ownership EverybodyOwnsAll(uint64_t count, uint32_t ranks) {
  return Ownership(ranks, {Shard{0, count}});
}

class Trainer {
 public:
  Trainer(Network& network, const TrainJob& job, Communicator& communicator, const LoopHooks& hooks)
      : network_(network),
        job_(job),
        options_(*job.options),
        communicator_(communicator),
        hooks_(hooks),
        sharded_(options_.optimizer.sharded && communicator.size() > 1),
        reducer_(network.parameters(), network.tensors(), communicator,
                 {.bucket_bytes = static_cast<uint64_t>(options_.bucket_mb * (1 << 20)),
                  .scatter = sharded_,
                  .device = job.device}),
        shares_(Shares(reducer_, communicator.size())),
        ownership_(sharded_ ? shares_
                            : EverybodyOwnsAll(network.values().size(), communicator.size())),
        optimizer_(options_.optimizer, ownership_[communicator.rank()]),
        replica_(communicator.on_device() ? std::make_unique<DeviceReplica>(
                                                network, options_.optimizer, optimizer_, job.device)
                                          : nullptr),
        // A draw is named by where it is in the training, so that a restart draws the same.
        draws_(SeededRandom({.seed = options_.seed,
                             .label = "training draws",
                             .round = job.round,
                             .site = job.site,
                             .rank = communicator.rank()})
                   .Next()),
        pace_(hooks.progress) {}

  absl::StatusOr<Metrics> Run() {
    if (job_.checkpointer != nullptr) {
      TrainingState state = State();
      ATOLL_RETURN_IF_ERROR(job_.checkpointer->Restore(state));
      position_ = state.position;
      epoch_so_far_ = state.epoch_so_far;
      if (replica_ != nullptr) replica_->Upload();
    }
    Metrics metrics;
    const uint32_t epochs = static_cast<uint32_t>(options_.local_epochs);
    steps_ = position_.steps + StepsFor(job_.examples.size() - position_.examples);
    if (position_.epoch < epochs)
      steps_ += (epochs - position_.epoch - 1) * StepsFor(job_.examples.size());
    while (position_.epoch < epochs) {
      absl::StatusOr<Metrics> epoch = Epoch();
      if (absl::IsCancelled(epoch.status()) && job_.checkpointer != nullptr)
        ATOLL_RETURN_IF_ERROR(job_.checkpointer->Save(State()));
      if (!epoch.ok()) return epoch.status();
      metrics = *epoch;
      position_ = {.epoch = position_.epoch + 1, .examples = 0, .steps = position_.steps};
      epoch_so_far_ = {};
      // After the last epoch the model itself is written.
      if (position_.epoch < epochs) ATOLL_RETURN_IF_ERROR(SaveIfDue(/*epoch_ended=*/true));
    }
    if (replica_ != nullptr) replica_->Download();
    return metrics;
  }

 private:
  using Batches = std::vector<Batch>;  // of one step, of this rank

  uint64_t GlobalBatch() const {
    return uint64_t{communicator_.size()} * static_cast<uint64_t>(options_.batch_size) *
           static_cast<uint64_t>(options_.accumulate_steps);
  }
  uint64_t StepsFor(uint64_t examples) const {
    return (examples + GlobalBatch() - 1) / GlobalBatch();
  }
  TrainingState State() {
    if (replica_ != nullptr) replica_->Download();
    return {.position = position_,
            .epoch_so_far = epoch_so_far_,
            .parameters = network_.values(),
            .optimizer = optimizer_,
            .ownership = ownership_};
  }
  absl::Status SaveIfDue(bool epoch_ended) {
    if (job_.checkpointer == nullptr || !job_.checkpointer->Due(position_, epoch_ended))
      return absl::OkStatus();
    return job_.checkpointer->Save(State());
  }

  // From position_ to the end of its epoch.
  absl::StatusOr<Metrics> Epoch() {
    const uint32_t batch = static_cast<uint32_t>(options_.batch_size);
    const EpochSampler sampler(
        job_.examples, {.seed = options_.seed,
                        .round = job_.round,
                        .epoch = position_.epoch,
                        .site = job_.site,
                        .rank = communicator_.rank(),
                        .ranks = communicator_.size(),
                        .batch_size = batch * static_cast<uint32_t>(options_.accumulate_steps),
                        .done = position_.examples});
    const Draw draw = {.seed = options_.seed, .round = job_.round, .epoch = position_.epoch};
    const auto make = [&](uint32_t step) -> absl::StatusOr<Batches> {
      return CatchTorch("training", [&]() -> absl::StatusOr<Batches> {
        Batches batches;
        std::span<const uint32_t> rest = sampler.batch(step);
        while (!rest.empty()) {
          const auto part = rest.first(std::min<size_t>(batch, rest.size()));
          batches.push_back(job_.data->MakeBatch(part, draw));
          rest = rest.subspan(part.size());
        }
        return batches;
      });
    };
    network_.SetTraining(true);
    Prefetcher<Batches> ahead(make, sampler.steps(), kStepsAhead);
    for (uint32_t step = 0; step < sampler.steps(); ++step) {
      ATOLL_ASSIGN_OR_RETURN(const Batches batches, ahead.Next());
      const uint64_t global = sampler.global_batch(step);
      ATOLL_RETURN_IF_ERROR(Step(batches, global));
      position_.examples += global;
      ++position_.steps;
      pace_.Step(static_cast<uint32_t>(position_.steps), static_cast<uint32_t>(steps_), global);
      // The end of an epoch has more to save than its last step.
      if (step + 1 < sampler.steps()) ATOLL_RETURN_IF_ERROR(SaveIfDue(/*epoch_ended=*/false));
    }
    ATOLL_ASSIGN_OR_RETURN(const Metrics metrics, SumOverRanks(epoch_so_far_, communicator_));
    if (hooks_.epoch_done) ATOLL_RETURN_IF_ERROR(hooks_.epoch_done(position_.epoch, metrics));
    return metrics;
  }

  absl::Status Step(const Batches& batches, uint64_t global) {
    const bool stop = hooks_.stop && hooks_.stop();
    absl::Status problem;
    Metrics counted;
    reducer_.BeginStep();
    for (size_t i = 0; i < batches.size(); ++i) {
      at::Tensor objective = Forward(batches[i], i, counted, problem);
      if (!problem.ok()) break;
      if (i + 1 == batches.size()) reducer_.LastPass(stop);
      (objective / static_cast<double>(global)).backward();
    }
    if (batches.empty() || !problem.ok()) reducer_.LastPass(stop || !problem.ok());
    ATOLL_RETURN_IF_ERROR(reducer_.FinishStep());
    if (reducer_.flag_raised()) {
      // The step is given up on all ranks: position_ is where it began.
      if (stop) problem.Update(absl::CancelledError("training was stopped"));
      return Agree(communicator_, problem);
    }
    ATOLL_RETURN_IF_ERROR(Apply(global));
    epoch_so_far_.examples += counted.examples;
    epoch_so_far_.correct += counted.correct;
    epoch_so_far_.loss_sum += counted.loss_sum;
    return absl::OkStatus();
  }

  // Batch i of the step.
  at::Tensor Forward(const Batch& batch, size_t i, Metrics& counted, absl::Status& problem) {
    torch::manual_seed(draws_ ^
                       MixBits((uint64_t{position_.epoch} << 40) + position_.examples + i));
    std::optional<PrecisionScope> precision(job_.precision);
    Outcome outcome = network_.Run(batch);
    precision.reset();
    Count(outcome, counted);
    if (!std::isfinite(outcome.loss_sum)) {
      problem = absl::AbortedError(absl::StrCat(
          "the loss is ", outcome.loss_sum, " at step ", position_.steps + 1, " of ", steps_,
          " on rank ", communicator_.rank(), "; a lower train.optimizer.lr may help"));
    }
    return outcome.objective;
  }

  // Of the whole gradient, the same on all ranks.
  absl::StatusOr<double> SquaresOfGradient() {
    if (replica_ != nullptr) {
      double squares = replica_->SumOfSquares(reducer_.gradient());
      if (sharded_) ATOLL_RETURN_IF_ERROR(communicator_.AllReduceSum(std::span(&squares, 1)));
      return squares;
    }
    const std::span<const float> gradient = ValuesOf(reducer_.gradient());
    if (sharded_) return SumOfSquaresOverRanks(gradient, shares_, communicator_);
    return SumOfSquares(gradient, shares_);
  }

  // Clips the gradient and steps.
  absl::Status Apply(uint64_t global) {
    StepOptions step = {.lr = options_.optimizer.lr *
                              LearningRateFactor(options_.schedule, ProgressAtMiddle(global))};
    if (options_.max_grad_norm > 0) {
      ATOLL_ASSIGN_OR_RETURN(const double squares, SquaresOfGradient());
      if (!std::isfinite(squares)) {
        return Alike(
            absl::AbortedError(absl::StrCat("the gradient's norm is ", std::sqrt(squares),
                                            " at step ", position_.steps + 1, " of ", steps_,
                                            " on all ranks; a lower "
                                            "train.optimizer.lr may help")));
      }
      step.gradient_scale = ClipScale(std::sqrt(squares), options_.max_grad_norm);
    }
    if (replica_ != nullptr) {
      replica_->Step(step, reducer_.gradient());
    } else {
      optimizer_.Step(step, network_.values(), ValuesOf(reducer_.gradient()));
    }
    if (!sharded_) return absl::OkStatus();
    return reducer_.GatherOwned(replica_ != nullptr ? replica_->values() : network_.values());
  }

  // Share of the whole training that is done at the middle of a step of `global` examples.
  double ProgressAtMiddle(uint64_t global) const {
    const double all = static_cast<double>(std::max<size_t>(1, job_.examples.size()));
    const double middle = static_cast<double>(position_.examples) + static_cast<double>(global) / 2;
    const double epochs = (position_.epoch + middle / all) / std::max(1, options_.local_epochs);
    return (job_.rounds_before + epochs) / std::max(1u, job_.rounds);
  }

  Network& network_;
  const TrainJob& job_;
  const recipes::Train& options_;
  Communicator& communicator_;
  const LoopHooks& hooks_;
  const bool sharded_;
  GradientReducer reducer_;
  const Ownership shares_, ownership_;
  LocalOptimizer optimizer_;
  const std::unique_ptr<DeviceReplica> replica_;  // null: the host computes
  const uint64_t draws_;
  Pace pace_;
  Position position_;
  uint64_t steps_ = 0;    // of the whole call
  Metrics epoch_so_far_;  // this rank's
};

}  // namespace

absl::StatusOr<Metrics> TrainLocally(Network& network, const TrainJob& job,
                                     Communicator& communicator, const LoopHooks& hooks) {
  return CatchTorch("training", [&]() -> absl::StatusOr<Metrics> {
    return Trainer(network, job, communicator, hooks).Run();
  });
}

}  // namespace atl::trainer
