#include "trainer/modes/results.h"

#include <algorithm>

#include "comms/base/clock.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "recipes/schema/load.h"
#include "recipes/schema/run_name.h"
#include "trainer/export/model_folder.h"

namespace atl::trainer {
namespace {

const Metrics& Judged(const EpochResult& result) {
  return result.test ? *result.test : result.train;
}

}  // namespace

absl::StatusOr<Results> Results::Create(const recipes::Recipe& recipe, const std::string& out) {
  Results results;
  results.recipe_ = recipe;
  results.folder_ =
      out.empty() ? std::filesystem::path(recipe.output_folder) / recipes::NewRunName(recipe.name)
                  : std::filesystem::path(out);
  ATOLL_RETURN_IF_ERROR(MakeFolder(results.folder_));
  ATOLL_RETURN_IF_ERROR(
      WriteFileAtomic(results.folder_ / "recipe.yaml", AsBytes(recipes::ToYaml(recipe))));
  return results;
}

absl::Status Results::AddEpoch(const EpochResult& result, uint32_t epochs) {
  nlohmann::ordered_json metrics = {{"train/loss", result.train.loss()},
                                    {"train/accuracy", result.train.accuracy()},
                                    {"seconds", result.seconds}};
  if (result.test) {
    metrics["eval/loss"] = result.test->loss();
    metrics["eval/accuracy"] = result.test->accuracy();
  }
  nlohmann::ordered_json line = {{"t", FormatUtc(RealClock().UnixMs())},
                                 {"progress", (result.epoch + 1) * 100 / std::max(1u, epochs)},
                                 {"step", result.epoch + 1},
                                 {"metrics", metrics}};
  metrics_ += line.dump() + "\n";
  return WriteFileAtomic(folder_ / "metrics.jsonl", AsBytes(metrics_));
}

absl::Status Results::Finish(const Network& network, const DataTraits& traits,
                             const EpochResult& last, uint32_t ranks, double seconds) {
  ATOLL_RETURN_IF_ERROR(WriteModelFolder(folder_, recipe_, traits, network));
  nlohmann::ordered_json summary = {
      {"job", folder_.filename().string()},
      {"status", "complete"},
      {"mode", "data-parallel"},
      {"ranks", ranks},
      {"rounds_completed", last.epoch + 1},  // each epoch is judged as a round is
      {"epochs_completed", last.epoch + 1},
      {"final",
       {{"accuracy", Judged(last).accuracy()},
        {"loss", Judged(last).loss()},
        {"examples", Judged(last).examples},
        {"set", last.test ? "test" : "train"}}},
      {"train",
       {{"accuracy", last.train.accuracy()},
        {"loss", last.train.loss()},
        {"examples", last.train.examples}}},
      {"seconds", seconds}};
  return WriteFileAtomic(folder_ / "summary.json", AsBytes(summary.dump(2) + "\n"));
}

}  // namespace atl::trainer
