// A training's checkpoints, on all its ranks.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "comms/collectives/communicator.h"
#include "recipes/schema/recipe.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/spread.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/loop/metrics.h"
#include "trainer/optim/optimizer.h"

namespace atl::trainer {

// Where a training stands, on one rank.
struct TrainingState {
  Position position;
  Metrics epoch_so_far;         // this rank's, of the epoch that is under way
  std::span<float> parameters;  // the same on all ranks
  LocalOptimizer& optimizer;
  const Ownership& ownership;  // whose is what of the optimiser's state
};

// Every rank has one and calls its methods at the same steps; rank 0 alone reads and writes files,
// so that ranks on other machines need not see them. Lives on the training thread.
class Checkpointer {
 public:
  // recipe: resolved. examples: of the data set. folder: of the run.
  Checkpointer(const recipes::Recipe& recipe, uint64_t examples,
               const std::filesystem::path& folder, Communicator& communicator);

  // Reads the newest good checkpoint of the folder; called by all ranks before the training. Where
  // there is none, Restore does nothing and the training starts from the beginning. Agreed errors:
  // DATA_LOSS when there are checkpoints and none is good; FAILED_PRECONDITION naming the key when
  // the recipe is another, or the data set or the model has another size.
  absl::Status Load(uint64_t parameters);
  // What rank 0 has to tell of it: which checkpoint it is, which were passed over.
  const std::vector<std::string>& notes() const { return notes_; }
  // How many epochs of metrics were complete (0 without a checkpoint).
  uint32_t epochs_done() const { return loaded_ ? loaded_->position.epoch : 0; }
  // Sets everything in `state` but `ownership` to what was loaded; once. The same number of ranks
  // gets what each had; another number gets the same sums. Called by all ranks.
  absl::Status Restore(TrainingState& state);

  // Whether a checkpoint is due; the same on all ranks.
  bool Due(const Position& position, bool epoch_ended) const;
  // Copies the state and lets rank 0 write it in the background, after the one before. Agreed
  // errors: of the write before this one.
  absl::Status Save(const TrainingState& state);
  // Waits for the write that is under way; agreed.
  absl::Status Finish();

  // Rank 0: the newest checkpoint that is on disk, waiting for what is under way; empty: none.
  std::string LastGood();

 private:
  absl::Status Check(const Checkpoint& checkpoint, uint64_t parameters) const;

  const std::string recipe_yaml_;
  const recipes::Recipe recipe_;
  const uint64_t examples_, every_steps_;
  const CheckpointFolder folder_;
  Communicator& communicator_;
  std::optional<Checkpoint> loaded_;  // values on rank 0 only
  std::string loaded_from_;
  std::vector<std::string> notes_;
  std::unique_ptr<CheckpointWriter> writer_;  // rank 0
};

}  // namespace atl::trainer
