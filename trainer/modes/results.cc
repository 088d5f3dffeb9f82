#include "trainer/modes/results.h"

#include <algorithm>

#include "comms/base/clock.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "nlohmann/json.hpp"
#include "recipes/schema/load.h"
#include "recipes/schema/run_name.h"
#include "trainer/checkpoint/compare.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/export/model_folder.h"

namespace atl::trainer {
namespace {

constexpr uint64_t kMaxMetricsBytes = 256 << 20;

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
  if (!CheckpointFolder(results.folder_).empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        results.folder_.string(), ": has checkpoints of a run; go on with it by --resume ",
        results.folder_.string(), ", or choose another folder"));
  }
  ATOLL_RETURN_IF_ERROR(MakeFolder(results.folder_));
  ATOLL_RETURN_IF_ERROR(results.Lock());
  ATOLL_RETURN_IF_ERROR(results.WriteRecipe());
  return results;
}

absl::StatusOr<Results> Results::Open(const recipes::Recipe& recipe, const std::string& folder) {
  Results results;
  results.recipe_ = recipe;
  results.folder_ = folder;
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    return absl::NotFoundError(absl::StrCat(folder, ": there is no run to go on with"));
  ATOLL_RETURN_IF_ERROR(results.Lock());
  if (std::filesystem::exists(results.folder_ / "summary.json", error))
    return absl::AlreadyExistsError(absl::StrCat(folder, ": this run is complete"));
  auto yaml = ReadFile(results.folder_ / "recipe.yaml", recipes::kMaxRecipeBytes);
  if (yaml.ok()) {
    ATOLL_RETURN_IF_ERROR(
        Annotate(SameTraining(recipe, std::string(AsText(*yaml)), /*same_ranks=*/false),
                 folder + "/recipe.yaml"));
  } else if (!absl::IsNotFound(yaml.status())) {
    return yaml.status();
  }
  RemoveStagedLeftovers(results.folder_);
  return results;
}

absl::Status Results::ResumeAt(uint32_t epoch) {
  ATOLL_RETURN_IF_ERROR(WriteRecipe());
  const std::filesystem::path path = folder_ / "metrics.jsonl";
  auto bytes = ReadFile(path, kMaxMetricsBytes);
  if (absl::IsNotFound(bytes.status())) return absl::OkStatus();
  ATOLL_RETURN_IF_ERROR(bytes.status());
  // One line an epoch, in order.
  std::string_view rest = AsText(*bytes);
  for (uint32_t kept = 0; kept < epoch && rest.find('\n') != rest.npos; ++kept) {
    const size_t size = rest.find('\n') + 1;
    metrics_ += rest.substr(0, size);
    rest.remove_prefix(size);
  }
  return WriteFileAtomic(path, AsBytes(metrics_));
}

absl::Status Results::Lock() {
  ATOLL_ASSIGN_OR_RETURN(FolderLock lock, FolderLock::Take(folder_));
  lock_.emplace(std::move(lock));
  return absl::OkStatus();
}

absl::Status Results::WriteRecipe() const {
  return WriteFileAtomic(folder_ / "recipe.yaml", AsBytes(recipes::ToYaml(recipe_)));
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
