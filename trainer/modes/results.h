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
  // Errors name the path.
  static absl::StatusOr<Results> Create(const recipes::Recipe& recipe, const std::string& out);

  absl::Status AddEpoch(const EpochResult& result, uint32_t epochs);
  // `last` is the last epoch's.
  absl::Status Finish(const Network& network, const DataTraits& traits, const EpochResult& last,
                      uint32_t ranks, double seconds);

  const std::filesystem::path& folder() const { return folder_; }

 private:
  recipes::Recipe recipe_;
  std::filesystem::path folder_;
  std::string metrics_;
};

}  // namespace atl::trainer
