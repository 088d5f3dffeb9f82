#include "federation/cli/run.h"

#include <cstdio>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "comms/base/clock.h"
#include "comms/base/files.h"
#include "comms/base/process.h"
#include "comms/base/status.h"
#include "federation/cli/client.h"
#include "federation/cli/embedded.h"
#include "federation/cli/interrupt.h"
#include "federation/cli/preflight.h"
#include "federation/cli/progress_view.h"
#include "federation/cli/summary.h"
#include "recipes/schema/load.h"

namespace atl::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kTickMs = 100;
constexpr int kConnectTimeoutMs = 10'000;
constexpr int kInterruptedTimeoutMs = 500;  // a coordinator that hangs does not hold up Ctrl-C
constexpr int kExitFailed = 1, kExitBadInput = 2, kExitInterrupted = 130;

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using FileHandle = std::unique_ptr<std::FILE, FileCloser>;

// Events of the job, from the thread that watches to the one that draws. Bounded by what a
// coordinator sends between two ticks of a tenth of a second.
struct EventQueue {
  std::mutex mutex;
  std::deque<v1::JobEvent> events;
  bool ended = false;
  absl::Status status;
};

bool IsOver(v1::JobStatus status) {
  return status == v1::COMPLETE || status == v1::FAILED || status == v1::CANCELLED;
}

// One run, from folder to summary.
class Run {
 public:
  Run(const RunOptions& options, recipes::Recipe recipe, fs::path folder)
      : options_(options),
        recipe_(std::move(recipe)),
        folder_(std::move(folder)),
        out_(options.json ? stderr : stdout),
        view_(out_, ViewKindFor(out_, options.quiet || options.json), recipe_.data.evaluate) {}

  // OK also when the job failed or was cancelled: the outcome says so.
  absl::StatusOr<RunOutcome> Go(const fs::path& trainer);

 private:
  absl::StatusOr<uint64_t> Submit(const FirstModel& model);
  absl::Status Follow(uint64_t job_id);
  absl::Status WriteMetrics(const v1::JobReport& job);
  absl::Status WriteModel(const fs::path& trainer, const FirstModel& model, const Digest& blob);

  const RunOptions& options_;
  recipes::Recipe recipe_;
  fs::path folder_;
  std::FILE* out_;
  ProgressView view_;
  std::unique_ptr<EmbeddedFederation> federation_;
  std::unique_ptr<CoordinatorClient> client_;
};

absl::StatusOr<uint64_t> Run::Submit(const FirstModel& model) {
  FileHandle file(std::fopen(model.file.c_str(), "rb"));
  if (!file || std::fseek(file.get(), static_cast<long>(model.data_offset), SEEK_SET) != 0) {
    return absl::PermissionDeniedError(absl::StrCat("cannot read ", model.file.string()));
  }
  auto read = [&](std::span<uint8_t> buffer) -> absl::StatusOr<size_t> {
    size_t got = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (got == 0 && std::ferror(file.get())) {
      return absl::DataLossError(absl::StrCat("reading ", model.file.string(), " failed"));
    }
    return got;
  };
  ATOLL_ASSIGN_OR_RETURN(Digest blob, client_->UploadBlob(model.data_bytes, read));
  return client_->Submit(recipes::ToYaml(recipe_), blob, model.data_bytes / 4);
}

absl::Status Run::Follow(uint64_t job_id) {
  EventQueue queue;
  std::thread watcher([&] {
    absl::Status status =
        client_->Watch(job_id, {.trace = options_.trace}, [&](const v1::JobEvent& event) {
          std::lock_guard lock(queue.mutex);
          queue.events.push_back(event);
          return true;
        });
    std::lock_guard lock(queue.mutex);
    queue.ended = true;
    queue.status = status;
  });
  absl::Status result;
  std::set<std::string> training;
  bool over = false, cancelled = false;
  while (!over) {
    std::deque<v1::JobEvent> events;
    bool ended;
    {
      std::lock_guard lock(queue.mutex);
      events.swap(queue.events);
      ended = queue.ended;
      result = queue.status;
    }
    for (const v1::JobEvent& event : events) {
      if (event.has_status()) {
        view_.OnStatus(event.status());
        over = over || IsOver(event.status().status());
      } else if (event.has_round()) {
        view_.OnRound(event.round());
      } else if (event.has_progress()) {
        view_.OnProgress(event.progress());
        // Once a site trains, its trainer's processes are there to be listed.
        if (event.progress().progress().phase() == "train" &&
            training.insert(event.progress().site_name()).second) {
          federation_->WriteProcesses().IgnoreError();
        }
      } else if (event.body_case() == v1::JobEvent::kNote) {
        view_.OnNote(event.note());
      } else if (event.has_trace()) {
        view_.OnTrace(event.trace(), event.unix_ms());
      }
    }
    for (const std::string& ended_child : federation_->NewlyEnded()) view_.OnNote(ended_child);
    view_.Tick();
    if (over) break;
    if (Interrupted()) {
      // One short try to let the sites know; what they do not hear they learn when they are
      // stopped.
      client_->set_call_timeout_ms(kInterruptedTimeoutMs);
      client_->Cancel(job_id, "interrupted at the terminal").IgnoreError();
      cancelled = true;
      break;
    }
    if (!federation_->coordinator_runs()) {
      result = absl::UnavailableError(absl::StrCat(
          "the coordinator ended; its log: ", (folder_ / "logs" / "coordinator.log").string()));
      break;
    }
    if (ended) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(kTickMs));
  }
  client_->StopWatching();
  watcher.join();
  view_.Finish();
  return over || cancelled ? absl::OkStatus() : result;
}

absl::Status Run::WriteMetrics(const v1::JobReport& job) {
  std::string lines;
  for (const v1::RoundReport& round : job.round_reports()) {
    lines += MetricsLine(round, job.rounds(), RealClock().UnixMs()).dump() + "\n";
  }
  return WriteFileAtomic(folder_ / "metrics.jsonl", AsBytes(lines));
}

absl::Status Run::WriteModel(const fs::path& trainer, const FirstModel& model, const Digest& blob) {
  const bool whole = TravelsWhole(recipe_.model);
  const fs::path target = whole ? folder_ / "model.safetensors" : folder_ / "work" / "trained";
  ATOLL_ASSIGN_OR_RETURN(StagedFile file, StagedFile::Create(target));
  FileHandle first(std::fopen(model.file.c_str(), "rb"));
  Bytes header(model.data_offset);
  if (!first || std::fread(header.data(), 1, header.size(), first.get()) != header.size()) {
    return absl::DataLossError(absl::StrCat("cannot read the header of ", model.file.string()));
  }
  ATOLL_RETURN_IF_ERROR(file.Append(header));
  ATOLL_RETURN_IF_ERROR(
      client_->DownloadBlob(blob, [&](ByteView chunk) { return file.Append(chunk); }));
  ATOLL_RETURN_IF_ERROR(file.Commit());
  if (!whole) return ExportModel({trainer, folder_ / "recipe.yaml", target, folder_}, Interrupted);
  ATOLL_ASSIGN_OR_RETURN(Bytes config, ReadFile(model.config, 1 << 20));
  return WriteFileAtomic(folder_ / "config.json", config);
}

absl::StatusOr<RunOutcome> Run::Go(const fs::path& trainer) {
  const int64_t start_ms = RealClock().NowMs();
  const fs::path recipe_file = folder_ / "recipe.yaml", init_folder = folder_ / "work" / "init";
  ATOLL_RETURN_IF_ERROR(WriteFileAtomic(recipe_file, AsBytes(recipes::ToYaml(recipe_))));
  // libtorch takes its time to load: the first model is made while coordinator and sites start.
  ATOLL_ASSIGN_OR_RETURN(Process init, StartFirstModel(trainer, recipe_file, init_folder));
  EmbeddedOptions embedded{recipe_, folder_, OwnPath(), trainer, options_.port};
  ATOLL_ASSIGN_OR_RETURN(federation_, EmbeddedFederation::Start(embedded, Interrupted));
  ATOLL_ASSIGN_OR_RETURN(FirstModel model, FinishFirstModel(init, init_folder, Interrupted));
  ATOLL_ASSIGN_OR_RETURN(client_,
                         CoordinatorClient::Connect(federation_->address(), kConnectTimeoutMs));
  ATOLL_ASSIGN_OR_RETURN(uint64_t job_id, Submit(model));
  ATOLL_RETURN_IF_ERROR(Follow(job_id));

  RunOutcome outcome;
  outcome.sites = federation_->sites();
  outcome.folder = folder_;
  ATOLL_ASSIGN_OR_RETURN(outcome.job, client_->GetJob(job_id));
  outcome.seconds = static_cast<double>(RealClock().NowMs() - start_ms) / 1000;
  ATOLL_RETURN_IF_ERROR(WriteMetrics(outcome.job));
  if (outcome.job.status() == v1::COMPLETE) {
    Digest blob{};
    if (outcome.job.model().size() != blob.size())
      return absl::InternalError("the job is complete and has no model");
    std::copy(outcome.job.model().begin(), outcome.job.model().end(), blob.begin());
    ATOLL_RETURN_IF_ERROR(WriteModel(trainer, model, blob));
  }
  return outcome;
}

void Complain(const absl::Status& status) {
  std::fprintf(stderr, "atoll run: %s\n", std::string(status.message()).c_str());
}

}  // namespace

int RunRecipe(const RunOptions& options) {
  CatchInterrupts();
  auto loaded = recipes::LoadRecipeFile(options.recipe, options.overrides);
  if (loaded.ok()) {
    for (const recipes::Problem& note : loaded->notes) {
      std::fprintf(stderr, "atoll run: note: %s\n", note.Text().c_str());
    }
  }
  auto recipe = loaded.ok() ? recipes::RecipeOf(*std::move(loaded)) : loaded.status();
  if (recipe.ok()) MakePathsAbsolute(*recipe);
  absl::Status ready = recipe.ok() ? CheckMachine(*recipe) : recipe.status();
  absl::StatusOr<fs::path> trainer = FindTrainer();
  if (ready.ok() && !trainer.ok()) ready = trainer.status();
  absl::StatusOr<fs::path> folder = absl::UnknownError("");
  if (ready.ok()) {
    folder = MakeRunFolder(options.out.empty() ? recipe->output_folder : options.out, recipe->name);
    ready = folder.status();
  }
  if (!ready.ok()) {
    Complain(ready);
    return kExitBadInput;
  }
  BecomeSubreaper();

  absl::StatusOr<RunOutcome> outcome = absl::UnknownError("");
  {
    Run run(options, *recipe, *folder);
    outcome = run.Go(*trainer);
  }  // everything it started has ended here
  std::error_code ignored;
  if (!options.keep_work) fs::remove_all(*folder / "work", ignored);
  fs::remove(*folder / "processes.json", ignored);
  fs::remove(*folder / "coordinator.json", ignored);
  if (!outcome.ok()) {
    Complain(outcome.status());
    std::fprintf(stderr, "atoll run: logs are in %s\n", (*folder / "logs").c_str());
    return Interrupted() ? kExitInterrupted : kExitFailed;
  }
  std::string summary = SummaryJson(*outcome).dump(2) + "\n";
  if (absl::Status written = WriteFileAtomic(*folder / "summary.json", AsBytes(summary));
      !written.ok()) {
    Complain(written);
    return kExitFailed;
  }
  if (options.json) {
    std::fputs(summary.c_str(), stdout);
  } else {
    std::printf("\n%s", SummaryTable(*outcome).c_str());
  }
  if (std::fflush(stdout) != 0) return kExitFailed;
  if (outcome->job.status() == v1::COMPLETE) return 0;
  return Interrupted() ? kExitInterrupted : kExitFailed;
}

}  // namespace atl::cli
