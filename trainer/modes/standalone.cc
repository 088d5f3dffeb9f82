#include <chrono>
#include <cstdio>
#include <numeric>
#include <optional>

#include "comms/base/status.h"
#include "recipes/schema/load.h"
#include "trainer/loop/evaluate.h"
#include "trainer/loop/train.h"
#include "trainer/modes/modes.h"
#include "trainer/modes/mpi_main.h"
#include "trainer/modes/results.h"
#include "trainer/parallel/agree.h"
#include "trainer/parallel/threads.h"

namespace atl::trainer {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What each rank needs before it can train.
struct Workload {
  recipes::Recipe recipe;
  DataTraits traits;
  std::unique_ptr<Dataset> train, test;  // test: or null
  std::unique_ptr<Network> network;
};

absl::StatusOr<Workload> Load(const StandaloneOptions& options, uint32_t local_ranks) {
  Workload w;
  ATOLL_ASSIGN_OR_RETURN(w.recipe, recipes::LoadRecipe(options.recipe, options.overrides));
  ATOLL_ASSIGN_OR_RETURN(w.traits, TraitsOf(w.recipe));
  ATOLL_ASSIGN_OR_RETURN(w.train, LoadDataset(w.recipe, Split::kTrain));
  if (w.recipe.data.evaluate) {
    ATOLL_ASSIGN_OR_RETURN(w.test, LoadDataset(w.recipe, Split::kTest));
  }
  ConfigureTorch(ThreadsPerRank(UsableCores(), local_ranks));
  ATOLL_ASSIGN_OR_RETURN(w.network, Network::Create(w.recipe, w.traits));
  return w;
}

void PrintEpoch(const EpochResult& result, uint32_t epochs) {
  std::printf("epoch %u/%u  train loss %.4f accuracy %.4f", result.epoch + 1, epochs,
              result.train.loss(), result.train.accuracy());
  if (result.test)
    std::printf("  test loss %.4f accuracy %.4f", result.test->loss(), result.test->accuracy());
  std::printf(
      "  %.1f s  %.0f examples/s\n", result.seconds,
      result.seconds > 0 ? static_cast<double>(result.train.examples) / result.seconds : 0.0);
  std::fflush(stdout);
}

absl::Status Train(const StandaloneOptions& options, Communicator& world) {
  const auto start = Clock::now();
  auto loaded = Load(options, world.local_size());
  ATOLL_RETURN_IF_ERROR(Agree(world, loaded.status()));
  Workload& w = *loaded;
  std::optional<Results> results;  // rank 0's
  absl::Status made;
  if (world.rank() == 0) {
    auto created = Results::Create(w.recipe, options.out);
    made = created.status();
    if (created.ok()) results = *std::move(created);
  }
  ATOLL_RETURN_IF_ERROR(Agree(world, made));

  std::vector<uint32_t> examples(w.train->size());
  std::iota(examples.begin(), examples.end(), 0);
  const uint32_t epochs = static_cast<uint32_t>(w.recipe.train.local_epochs);
  if (results && !options.quiet) {
    std::printf("%s: %u examples, %zu parameters, %u rank%s\n", w.recipe.name.c_str(),
                w.train->size(), w.network->values().size(), world.size(),
                world.size() == 1 ? "" : "s");
    std::fflush(stdout);
  }
  if (results && !w.network->loaded_text().empty()) {
    std::fprintf(stderr, "atoll-trainer: %s: %s\n", w.recipe.model.weights.c_str(),
                 w.network->loaded_text().c_str());
  }
  EpochResult last;
  auto epoch_start = Clock::now();
  LoopHooks hooks;
  hooks.epoch_done = [&](uint32_t epoch, const Metrics& metrics) -> absl::Status {
    last = {.epoch = epoch, .train = metrics, .test = {}, .seconds = SecondsSince(epoch_start)};
    if (w.test) {
      ATOLL_ASSIGN_OR_RETURN(last.test, Evaluate(*w.network, *w.test, world, {}));
    }
    absl::Status written;
    if (results) written = results->AddEpoch(last, epochs);
    ATOLL_RETURN_IF_ERROR(Agree(world, written));
    if (results && !options.quiet) PrintEpoch(last, epochs);
    epoch_start = Clock::now();
    return absl::OkStatus();
  };
  TrainJob job{.options = &w.recipe.train, .data = w.train.get(), .examples = examples};
  ATOLL_RETURN_IF_ERROR(TrainLocally(*w.network, job, world, hooks).status());
  absl::Status finished;
  if (results)
    finished = results->Finish(*w.network, w.traits, last, world.size(), SecondsSince(start));
  ATOLL_RETURN_IF_ERROR(Agree(world, finished));
  if (results && !options.quiet) {
    std::printf("results in %s\n", results->folder().c_str());
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

}  // namespace

int RunStandalone(const StandaloneOptions& options) {
  return RunOnRanks([&](Communicator& world) { return Train(options, world); });
}

}  // namespace atl::trainer
