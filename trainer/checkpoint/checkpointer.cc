#include "trainer/checkpoint/checkpointer.h"

#include <algorithm>
#include <utility>

#include "comms/base/status.h"
#include "recipes/schema/load.h"
#include "trainer/checkpoint/compare.h"
#include "trainer/parallel/agree.h"

namespace atl::trainer {
namespace {

// Rank 0's bytes, of any number, to all. Empty: there are none.
absl::Status BroadcastSized(Bytes& bytes, Communicator& communicator) {
  ByteWriter size;
  size.U64(bytes.size());
  Bytes head = std::move(size).Take();
  ATOLL_RETURN_IF_ERROR(communicator.Broadcast(head));
  bytes.resize(std::min(ByteReader(head).U64(), kMaxCheckpointHeader));
  return bytes.empty() ? absl::OkStatus() : communicator.Broadcast(bytes);
}

}  // namespace

Checkpointer::Checkpointer(const recipes::Recipe& recipe, uint64_t examples,
                           const std::filesystem::path& folder, Communicator& communicator)
    : recipe_yaml_(recipes::ToYaml(recipe)),
      recipe_(recipe),
      examples_(examples),
      every_steps_(static_cast<uint64_t>(std::max(0, recipe.train.checkpoint_steps))),
      folder_(folder),
      communicator_(communicator) {
  if (communicator.rank() == 0) writer_ = std::make_unique<CheckpointWriter>(folder_);
}

absl::Status Checkpointer::Check(const Checkpoint& checkpoint, uint64_t parameters) const {
  ATOLL_RETURN_IF_ERROR(
      SameTraining(recipe_, checkpoint.recipe_yaml, checkpoint.ranks == communicator_.size()));
  if (checkpoint.examples != examples_) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the data set has ", examples_, " examples, that of the run had ", checkpoint.examples));
  }
  if (checkpoint.position.epoch >= static_cast<uint32_t>(recipe_.train.local_epochs)) {
    return absl::FailedPreconditionError(absl::StrCat("is of epoch ", checkpoint.position.epoch + 1,
                                                      " of ", recipe_.train.local_epochs));
  }
  if (checkpoint.parameters.size() != parameters) {
    return absl::FailedPreconditionError(absl::StrCat("the model has ", parameters,
                                                      " parameters, that of the run had ",
                                                      checkpoint.parameters.size()));
  }
  return absl::OkStatus();
}

absl::Status Checkpointer::Load(uint64_t parameters) {
  absl::Status status;
  Bytes header;
  if (communicator_.rank() == 0) {
    auto found = folder_.Newest(parameters);
    status = found.status();
    if (found.ok() && found->has_value()) {
      CheckpointFolder::Found& newest = **found;
      loaded_from_ = newest.path.string();
      status = Annotate(Check(newest.checkpoint, parameters), loaded_from_);
      for (const std::string& bad : newest.passed_over)
        notes_.push_back(absl::StrCat("passed over ", bad));
      const Position& at = newest.checkpoint.position;
      notes_.push_back(absl::StrCat("goes on from ", loaded_from_, " (step ", at.steps, ", epoch ",
                                    at.epoch + 1, ", example ", at.examples, ")"));
      header = EncodeHeader(newest.checkpoint);
      loaded_ = std::move(newest.checkpoint);
    } else if (found.ok()) {
      notes_.push_back("has no checkpoint yet: starts from the beginning");
    }
  }
  ATOLL_RETURN_IF_ERROR(Agree(communicator_, status));
  ATOLL_RETURN_IF_ERROR(BroadcastSized(header, communicator_));
  if (communicator_.rank() == 0 || header.empty()) return absl::OkStatus();
  ATOLL_ASSIGN_OR_RETURN(CheckpointHeader parsed, ParseHeader(header));
  loaded_ = std::move(parsed.fields);
  return absl::OkStatus();
}

absl::Status Checkpointer::Restore(TrainingState& state) {
  if (!loaded_) return absl::OkStatus();
  Checkpoint from = *std::exchange(loaded_, std::nullopt);
  const uint64_t total = state.parameters.size();
  LocalOptimizer& optimizer = state.optimizer;
  const bool fits = from.optimizer.size() == optimizer.state().size() &&
                    std::ranges::equal(from.optimizer, optimizer.state(), {},
                                       &Checkpoint::State::name, &LocalOptimizer::State::name);
  if (!fits) {
    return Alike(absl::FailedPreconditionError(
        absl::StrCat(loaded_from_, ": holds another optimiser's state")));
  }
  state.position = from.position;
  optimizer.set_steps(from.position.steps);
  if (from.ranks == communicator_.size()) {
    state.epoch_so_far = from.epoch_so_far[communicator_.rank()];
  } else if (communicator_.rank() == 0) {
    for (const Metrics& metrics : from.epoch_so_far) {
      state.epoch_so_far.examples += metrics.examples;
      state.epoch_so_far.correct += metrics.correct;
      state.epoch_so_far.loss_sum += metrics.loss_sum;
    }
  }
  const std::vector<Shard> everything = {{0, total}};
  ATOLL_RETURN_IF_ERROR(
      SpreadOwned(from.parameters, everything, total, communicator_, state.parameters));
  for (size_t i = 0; i < optimizer.state().size(); ++i) {
    ATOLL_RETURN_IF_ERROR(SpreadOwned(from.optimizer[i].values, optimizer.owned(), total,
                                      communicator_, optimizer.state()[i].values));
  }
  return absl::OkStatus();
}

bool Checkpointer::Due(const Position& position, bool epoch_ended) const {
  return every_steps_ == 0 ? epoch_ended : position.steps % every_steps_ == 0;
}

absl::Status Checkpointer::Save(const TrainingState& state) {
  const bool writes = communicator_.rank() == 0;
  Checkpoint to;
  absl::Status status;
  if (writes) {
    auto taken = writer_->Take();
    status = taken.status();
    if (taken.ok()) to = *std::move(taken);
  }
  ATOLL_RETURN_IF_ERROR(Agree(communicator_, status));
  ByteWriter mine;
  mine.U64(state.epoch_so_far.examples).U64(state.epoch_so_far.correct);
  mine.F64(state.epoch_so_far.loss_sum);
  ATOLL_ASSIGN_OR_RETURN(const Bytes metrics,
                         communicator_.Gather(mine.bytes(), uint64_t{24} * communicator_.size()));
  to.optimizer.resize(state.optimizer.state().size());
  for (size_t i = 0; i < to.optimizer.size(); ++i) {
    const LocalOptimizer::State& part = state.optimizer.state()[i];
    to.optimizer[i].name = part.name;
    ATOLL_RETURN_IF_ERROR(CollectOwned(part.values, state.ownership, state.parameters.size(),
                                       communicator_, to.optimizer[i].values));
  }
  if (!writes) return absl::OkStatus();
  to.recipe_yaml = recipe_yaml_;
  to.ranks = communicator_.size();
  to.examples = examples_;
  to.position = state.position;
  to.epoch_so_far.clear();
  ByteReader in(metrics);
  for (uint32_t rank = 0; rank < communicator_.size(); ++rank) {
    Metrics& m = to.epoch_so_far.emplace_back();
    m.examples = in.U64();
    m.correct = in.U64();
    m.loss_sum = in.F64();
  }
  to.parameters.assign(state.parameters.begin(), state.parameters.end());
  writer_->Start(std::move(to));
  return absl::OkStatus();
}

absl::Status Checkpointer::Finish() {
  return Agree(communicator_, writer_ ? writer_->Wait() : absl::OkStatus());
}

std::string Checkpointer::LastGood() {
  if (writer_ == nullptr) return "";
  (void)writer_->Wait();  // what failed is said elsewhere
  const std::string written = writer_->last_good();
  return written.empty() ? loaded_from_ : written;
}

}  // namespace atl::trainer
