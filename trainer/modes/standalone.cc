#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <optional>

#include "comms/base/process.h"
#include "comms/base/status.h"
#include "recipes/schema/load.h"
#include "trainer/checkpoint/checkpointer.h"
#include "trainer/gpu/compute.h"
#include "trainer/loop/evaluate.h"
#include "trainer/loop/train.h"
#include "trainer/modes/modes.h"
#include "trainer/modes/mpi_main.h"
#include "trainer/modes/results.h"
#include "trainer/modes/stop_signal.h"
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
  const std::string path =
      options.recipe.empty() ? options.resume + "/recipe.yaml" : options.recipe;
  ATOLL_ASSIGN_OR_RETURN(w.recipe, recipes::LoadRecipe(path, options.overrides));
  ATOLL_ASSIGN_OR_RETURN(w.traits, TraitsOf(w.recipe));
  ATOLL_ASSIGN_OR_RETURN(w.train, LoadDataset(w.recipe, Split::kTrain));
  if (w.recipe.data.evaluate) {
    ATOLL_ASSIGN_OR_RETURN(w.test, LoadDataset(w.recipe, Split::kTest));
  }
  ConfigureTorch(ThreadsPerRank(UsableCores(), local_ranks));
  ATOLL_ASSIGN_OR_RETURN(w.network, Network::Create(w.recipe, w.traits));
  return w;
}

void Say(const StandaloneOptions& options, const std::string& line) {
  if (options.quiet) return;
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
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

// The folder of the results, on rank 0 (null on others). Agreed errors.
absl::StatusOr<std::unique_ptr<Results>> OpenResults(const StandaloneOptions& options,
                                                     const recipes::Recipe& recipe,
                                                     Communicator& world) {
  std::unique_ptr<Results> results;
  absl::Status status;
  if (world.rank() == 0) {
    auto opened = options.resume.empty() ? Results::Create(recipe, options.out)
                                         : Results::Open(recipe, options.resume);
    status = opened.status();
    if (opened.ok()) results = std::make_unique<Results>(*std::move(opened));
  }
  ATOLL_RETURN_IF_ERROR(Agree(world, status));
  return results;
}

// What went wrong, with what is left to go on from. `results` is rank 0's.
absl::Status AfterFailure(const absl::Status& status, Checkpointer& checkpointer,
                          const Results* results) {
  if (!IsAgreed(status)) return status;  // the other ranks may wait for this one
  const absl::Status written = checkpointer.Finish();
  if (absl::IsCancelled(status)) ATOLL_RETURN_IF_ERROR(written);
  const std::string last = checkpointer.LastGood();
  if (results == nullptr || last.empty()) return status;
  return Alike(absl::Status(
      status.code(), absl::StrCat(status.message(), "; the last good checkpoint is ", last,
                                  absl::IsCancelled(status) ? ", go on with --resume " : "",
                                  absl::IsCancelled(status) ? results->folder().string() : "")));
}

absl::Status Train(const StandaloneOptions& options, Communicator& world) {
  const auto start = Clock::now();
  auto loaded = Load(options, world.local_size());
  ATOLL_RETURN_IF_ERROR(Agree(world, loaded.status()));
  Workload& w = *loaded;
  ATOLL_ASSIGN_OR_RETURN(const Compute compute, SetUpCompute(w.recipe.site.backend, world));
  auto opened = OpenResults(options, w.recipe, world);
  if (absl::IsAlreadyExists(opened.status()) && !options.resume.empty()) {
    if (world.rank() == 0) Say(options, std::string(opened.status().message()));
    return absl::OkStatus();
  }
  ATOLL_RETURN_IF_ERROR(opened.status());
  Results* const results = opened->get();
  Checkpointer checkpointer(w.recipe, w.train->size(), results ? results->folder() : "", world);
  if (!options.resume.empty()) {
    ATOLL_RETURN_IF_ERROR(checkpointer.Load(w.network->values().size()));
    ATOLL_RETURN_IF_ERROR(
        Agree(world, results ? results->ResumeAt(checkpointer.epochs_done()) : absl::OkStatus()));
    for (const std::string& note : checkpointer.notes()) Say(options, note);
  }

  std::vector<uint32_t> examples(w.train->size());
  std::iota(examples.begin(), examples.end(), 0);
  const uint32_t epochs = static_cast<uint32_t>(w.recipe.train.local_epochs);
  if (results) {
    Say(options, absl::StrCat(w.recipe.name, ": ", w.train->size(), " examples, ",
                              w.network->values().size(), " parameters, ", world.size(), " rank",
                              world.size() == 1 ? "" : "s"));
  }
  if (results && !w.network->loaded_text().empty()) {
    std::fprintf(stderr, "atoll-trainer: %s: %s\n", w.recipe.model.weights.c_str(),
                 w.network->loaded_text().c_str());
  }
  if (results) Say(options, absl::StrCat("backend: ", compute.line));
  EpochResult last;
  auto epoch_start = Clock::now();
  LoopHooks hooks;
  hooks.stop = StopAsked;
  hooks.epoch_done = [&](uint32_t epoch, const Metrics& metrics) -> absl::Status {
    last = {.epoch = epoch, .train = metrics, .test = {}, .seconds = SecondsSince(epoch_start)};
    if (w.test) {
      LoopHooks stop_only;
      stop_only.stop = StopAsked;
      ATOLL_ASSIGN_OR_RETURN(
          last.test, Evaluate(*w.network, *w.test, w.recipe.site.precision, world, stop_only));
    }
    ATOLL_RETURN_IF_ERROR(
        Agree(world, results ? results->AddEpoch(last, epochs) : absl::OkStatus()));
    if (results && !options.quiet) PrintEpoch(last, epochs);
    epoch_start = Clock::now();
    return absl::OkStatus();
  };
  TrainJob job{.options = &w.recipe.train,
               .precision = w.recipe.site.precision,
               .data = w.train.get(),
               .examples = examples,
               .device = compute.device,
               .checkpointer = &checkpointer};
  absl::Status trained = TrainLocally(*w.network, job, *compute.communicator, hooks).status();
  if (!trained.ok()) return AfterFailure(trained, checkpointer, results);
  ATOLL_RETURN_IF_ERROR(checkpointer.Finish());
  ATOLL_RETURN_IF_ERROR(Agree(world, results ? results->Finish(*w.network, w.traits, last,
                                                               world.size(), SecondsSince(start))
                                             : absl::OkStatus()));
  if (results) Say(options, absl::StrCat("results in ", results->folder().string()));
  return absl::OkStatus();
}

}  // namespace

int RunStandalone(const StandaloneOptions& options) {
  ListenForStop();
  // Without mpirun nobody would end its ranks; they would go on for a while, in a folder that
  // another run may have taken over.
  if (std::getenv("OMPI_COMM_WORLD_RANK") != nullptr) DieWithParent(getppid());
  return RunOnRanks([&](Communicator& world) { return Train(options, world); });
}

}  // namespace atl::trainer
