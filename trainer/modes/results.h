// The folder that a run by itself leaves: model.safetensors, config.json, metrics.jsonl,
// summary.json, recipe.yaml.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"
#include "trainer/loop/metrics.h"
#include "trainer/model/network.h"
#include "trainer/modes/folder_lock.h"

namespace atl::trainer {

struct EpochResult {
  uint32_t epoch = 0;  // from 0
  Metrics train;
  std::optional<Metrics> test;
  double seconds = 0;  // of training
};

// Written by rank 0. Every file is whole at any time. Not thread-safe.
class Results {
 public:
  // Makes the folder (`out`, or <output folder>/<name>-<id> when empty) and writes the recipe.
  // FAILED_PRECONDITION when there are checkpoints in it: they are a run's that may go on;
  // UNAVAILABLE when another process works on it. Errors name the path.
  static absl::StatusOr<Results> Create(const recipes::Recipe& recipe, const std::string& out);
  // Of a run that was stopped or killed. Changes nothing but half-written files, which it removes.
  // NOT_FOUND without the folder; UNAVAILABLE when another process works on it; ALREADY_EXISTS when
  // the run is complete; FAILED_PRECONDITION naming the key when its recipe is another.
  static absl::StatusOr<Results> Open(const recipes::Recipe& recipe, const std::string& folder);
  // After Open: the epochs from this one on are done again, what was written of them is dropped.
  absl::Status ResumeAt(uint32_t epoch);

  absl::Status AddEpoch(const EpochResult& result, uint32_t epochs);
  // `last` is the last epoch's.
  absl::Status Finish(const Network& network, const DataTraits& traits, const EpochResult& last,
                      uint32_t ranks, double seconds);

  const std::filesystem::path& folder() const { return folder_; }

 private:
  absl::Status Lock();
  absl::Status WriteRecipe() const;

  recipes::Recipe recipe_;
  std::filesystem::path folder_;
  std::string metrics_;
  std::optional<FolderLock> lock_;
};

}  // namespace atl::trainer
