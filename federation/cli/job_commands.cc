#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "absl/strings/str_format.h"
#include "comms/base/clock.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "federation/cli/client.h"
#include "federation/cli/commands.h"
#include "federation/cli/embedded.h"
#include "federation/cli/interrupt.h"
#include "federation/cli/preflight.h"
#include "federation/cli/progress_view.h"
#include "federation/cli/summary.h"
#include "recipes/schema/load.h"

namespace atl::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kConnectTimeoutMs = 3'000;
constexpr const char* kDefaultAddress = "127.0.0.1:7700";

int Fail(const char* command, const absl::Status& status) {
  std::fprintf(stderr, "atoll %s: %s\n", command, std::string(status.message()).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ? 2 : 1;
}

// The address in FOLDER/coordinator.json, if the coordinator that wrote it still lives; else empty.
std::string LiveAddress(const fs::path& folder) {
  auto bytes = ReadFile(folder / "coordinator.json", 1 << 16);
  if (!bytes.ok()) return {};
  Json json = Json::parse(AsText(*bytes), nullptr, false);
  if (!json.is_object() || !json.contains("pid") || !json["pid"].is_number_integer()) return {};
  if (!json.contains("address") || !json["address"].is_string()) return {};
  if (kill(json["pid"].get<pid_t>(), 0) != 0 && errno == ESRCH) return {};
  return json["address"];
}

absl::StatusOr<std::string> FindAddress(const CoordinatorChoice& where) {
  if (!where.address.empty()) return where.address;
  const fs::path base = where.run.empty() ? fs::path("runs") : fs::path(where.run);
  if (std::string address = LiveAddress(base); !address.empty()) return address;
  std::string newest_name, newest;
  fs::file_time_type newest_time;
  std::error_code error;
  for (fs::directory_iterator entry(base, error), end; !error && entry != end;
       entry.increment(error)) {
    std::string address = LiveAddress(entry->path());
    if (address.empty()) continue;
    fs::file_time_type time = entry->last_write_time(error);
    if (newest.empty() || time > newest_time) {
      newest = address;
      newest_time = time;
    }
  }
  if (!newest.empty()) return newest;
  if (!where.run.empty()) {
    return absl::NotFoundError(absl::StrCat("no run in ", where.run, " has a live coordinator"));
  }
  return std::string(kDefaultAddress);
}

absl::StatusOr<std::unique_ptr<CoordinatorClient>> ConnectTo(const CoordinatorChoice& where) {
  ATOLL_ASSIGN_OR_RETURN(std::string address, FindAddress(where));
  auto client = CoordinatorClient::Connect(address, kConnectTimeoutMs);
  if (!client.ok() && where.address.empty() && where.run.empty()) {
    return absl::UnavailableError(
        absl::StrCat("no run under runs/ is alive and ", client.status().message(),
                     "; name one with --coordinator HOST:PORT or --run FOLDER"));
  }
  return client;
}

bool IsOver(v1::JobStatus status) {
  return status == v1::COMPLETE || status == v1::FAILED || status == v1::CANCELLED;
}

absl::StatusOr<uint64_t> SubmitRecipe(const CoordinatorChoice& where, const std::string& file,
                                      const std::vector<std::string>& overrides) {
  ATOLL_ASSIGN_OR_RETURN(recipes::Recipe recipe, recipes::LoadRecipe(file, overrides));
  ATOLL_ASSIGN_OR_RETURN(fs::path trainer, FindTrainer());
  ATOLL_ASSIGN_OR_RETURN(auto client, ConnectTo(where));
  ATOLL_ASSIGN_OR_RETURN(TemporaryFolder folder, TemporaryFolder::Create("atoll-submit"));
  const std::string yaml = recipes::ToYaml(recipe);
  ATOLL_RETURN_IF_ERROR(WriteFileAtomic(folder.path() / "recipe.yaml", AsBytes(yaml)));
  ATOLL_ASSIGN_OR_RETURN(Process init,
                         StartFirstModel(trainer, folder.path() / "recipe.yaml", folder.path()));
  ATOLL_ASSIGN_OR_RETURN(FirstModel model, FinishFirstModel(init, folder.path(), Interrupted));
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> data(std::fopen(model.file.c_str(), "rb"),
                                                       std::fclose);
  if (!data || std::fseek(data.get(), static_cast<long>(model.data_offset), SEEK_SET) != 0) {
    return absl::InternalError(absl::StrCat("cannot read ", model.file.string()));
  }
  auto read = [&](std::span<uint8_t> buffer) -> absl::StatusOr<size_t> {
    return std::fread(buffer.data(), 1, buffer.size(), data.get());
  };
  ATOLL_ASSIGN_OR_RETURN(Digest blob, client->UploadBlob(model.data_bytes, read));
  return client->Submit(yaml, blob, model.data_bytes / 4);
}

std::string JobLine(const v1::JobReport& job) {
  return absl::StrFormat("%-5d %-10s %3d/%-3d  %-28s %s", job.job_id(), StatusName(job.status()),
                         job.rounds_completed(), job.rounds(), job.name(), job.reason());
}

Json JobJson(const v1::JobReport& job) {
  return {{"id", job.job_id()},
          {"name", job.name()},
          {"status", StatusName(job.status())},
          {"reason", job.reason()},
          {"rounds_completed", job.rounds_completed()},
          {"rounds", job.rounds()}};
}

absl::Status PrintStatus(CoordinatorClient& client, bool json) {
  ATOLL_ASSIGN_OR_RETURN(v1::ListJobsReply reply, client.ListJobs());
  if (json) {
    Json out = {{"jobs", Json::array()}, {"sites", Json::array()}};
    for (const v1::JobReport& job : reply.jobs()) out["jobs"].push_back(JobJson(job));
    for (const v1::SiteReport& site : reply.sites()) {
      out["sites"].push_back(
          Json{{"id", site.site_id()},
               {"name", site.name()},
               {"role", site.role() == v1::ROLE_EVALUATOR ? "evaluator" : "site"},
               {"connected", site.connected()},
               {"cpus", site.cpus()},
               {"memory_gb", site.memory_gb()},
               {"job", site.job_id()}});
    }
    std::printf("%s\n", out.dump(2).c_str());
    return absl::OkStatus();
  }
  std::printf("%-5s %-10s %-7s  %-28s %s\n", "JOB", "STATUS", "ROUNDS", "NAME", "REASON");
  for (const v1::JobReport& job : reply.jobs()) std::printf("%s\n", JobLine(job).c_str());
  std::printf("\n%-5s %-12s %-10s %-13s %5s %6s  %s\n", "SITE", "NAME", "ROLE", "CONNECTED", "CPUS",
              "GB", "JOB");
  for (const v1::SiteReport& site : reply.sites()) {
    std::printf("%-5d %-12s %-10s %-13s %5.1f %6.1f  %s\n", site.site_id(), site.name().c_str(),
                site.role() == v1::ROLE_EVALUATOR ? "evaluator" : "site",
                site.connected() ? "yes" : "no", site.cpus(), site.memory_gb(),
                site.job_id() == 0 ? "-" : std::to_string(site.job_id()).c_str());
  }
  return absl::OkStatus();
}

absl::Status PrintJob(CoordinatorClient& client, uint64_t job_id, bool json) {
  ATOLL_ASSIGN_OR_RETURN(v1::JobReport job, client.GetJob(job_id));
  if (json) {
    std::printf("%s\n", SummaryJson(RunOutcome{job, {}, 0, ""}).dump(2).c_str());
    return absl::OkStatus();
  }
  std::printf("%s\n", JobLine(job).c_str());
  for (const v1::RoundReport& round : job.round_reports()) {
    std::printf("%s\n", FormatRound(round, job.rounds()).c_str());
  }
  return absl::OkStatus();
}

// The job a command means when none is named.
absl::StatusOr<uint64_t> ChooseJob(CoordinatorClient& client, uint64_t job_id, bool must_be_live) {
  if (job_id != 0) return job_id;
  ATOLL_ASSIGN_OR_RETURN(v1::ListJobsReply reply, client.ListJobs());
  std::vector<uint64_t> ids;
  for (const v1::JobReport& job : reply.jobs()) {
    if (!must_be_live || !IsOver(job.status())) ids.push_back(job.job_id());
  }
  if (ids.empty())
    return absl::NotFoundError(must_be_live ? "no job is queued or running" : "there are no jobs");
  if (must_be_live && ids.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(ids.size(), " jobs are queued or running; name one by its number"));
  }
  return *std::max_element(ids.begin(), ids.end());
}

absl::Status PrintEvents(CoordinatorClient& client, uint64_t job_id, bool follow) {
  ATOLL_ASSIGN_OR_RETURN(job_id, ChooseJob(client, job_id, false));
  ATOLL_ASSIGN_OR_RETURN(v1::JobReport job, client.GetJob(job_id));
  const uint32_t rounds = job.rounds();
  v1::JobStatus last = v1::JOB_STATUS_UNSPECIFIED;
  std::string reason;
  return client.Watch(job_id, {.follow = follow}, [&](const v1::JobEvent& event) {
    std::string time = FormatUtc(event.unix_ms());
    if (event.has_status() &&
        (event.status().status() != last || event.status().reason() != reason)) {
      last = event.status().status();
      reason = event.status().reason();
      std::printf("%s %s%s%s\n", time.c_str(), StatusName(last).c_str(), reason.empty() ? "" : ": ",
                  reason.c_str());
    } else if (event.has_round()) {
      std::printf("%s %s\n", time.c_str(), FormatRound(event.round(), rounds).c_str());
    } else if (event.body_case() == v1::JobEvent::kNote) {
      std::printf("%s %s\n", time.c_str(), event.note().c_str());
    }
    std::fflush(stdout);
    return !Interrupted();
  });
}

}  // namespace

int Submit(const CoordinatorChoice& where, const std::string& recipe,
           const std::vector<std::string>& overrides) {
  CatchInterrupts();
  auto job_id = SubmitRecipe(where, recipe, overrides);
  if (!job_id.ok()) return Fail("submit", job_id.status());
  std::printf("%d\n", static_cast<int>(*job_id));
  return 0;
}

int ShowStatus(const CoordinatorChoice& where, uint64_t job_id, bool json) {
  auto client = ConnectTo(where);
  absl::Status status = client.status();
  if (status.ok())
    status = job_id == 0 ? PrintStatus(**client, json) : PrintJob(**client, job_id, json);
  return status.ok() ? 0 : Fail("status", status);
}

int ShowLogs(const CoordinatorChoice& where, uint64_t job_id, bool follow) {
  CatchInterrupts();
  auto client = ConnectTo(where);
  absl::Status status = client.status();
  if (status.ok()) status = PrintEvents(**client, job_id, follow);
  return status.ok() ? 0 : Fail("logs", status);
}

int Cancel(const CoordinatorChoice& where, uint64_t job_id) {
  auto client = ConnectTo(where);
  absl::Status status = client.status();
  if (status.ok()) {
    auto chosen = ChooseJob(**client, job_id, true);
    status =
        chosen.ok() ? (*client)->Cancel(*chosen, "cancelled by atoll cancel") : chosen.status();
    if (status.ok()) std::printf("job %d is cancelled\n", static_cast<int>(*chosen));
  }
  return status.ok() ? 0 : Fail("cancel", status);
}

}  // namespace atl::cli
