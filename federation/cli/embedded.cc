#include "federation/cli/embedded.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "comms/base/clock.h"
#include "comms/base/files.h"
#include "comms/base/status.h"
#include "federation/secagg/group_bound.h"
#include "federation/secagg/messages.h"
#include "federation/secagg/roster.h"
#include "nlohmann/json.hpp"

namespace atl::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kReadyTimeoutMs = 20'000;
constexpr int kStopGraceMs = 3'000;
// A person waits at the terminal and nothing restarts a site: give up sooner than a real federation
// would.
constexpr int kReconnectGraceS = 5;
constexpr int kCohortWaitS = 15;

std::string LogTail(const std::string& file) {
  auto bytes = ReadFile(file, 16 << 20);
  if (!bytes.ok()) return {};
  std::string text(AsText(*bytes));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t line = text.rfind('\n');
  return line == std::string::npos ? text : text.substr(line + 1);
}

// A site's floor is on the cohort that its own masks hide in. In a split run that is its group's,
// of which so many may be lost as its threshold allows.
int CohortFloor(const recipes::Recipe& recipe) {
  const recipes::SecureAggregation& secure = recipe.secure_aggregation;
  if (!secure.enabled || recipe.site.count <= secure.group_size_max) {
    return recipe.federation.cohort_min;
  }
  const auto sizes =
      secagg::PickGroupSizes(static_cast<uint32_t>(recipe.site.count),
                             {.size_max = static_cast<uint32_t>(secure.group_size_max),
                              .corrupt_max = static_cast<uint32_t>(secure.corrupt_sites_max)});
  if (!sizes.ok()) return recipe.federation.cohort_min;  // the coordinator says why
  return std::min(recipe.federation.cohort_min,
                  static_cast<int>(secagg::ThresholdFor(sizes->back())));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddedFederation>> EmbeddedFederation::Start(
    const EmbeddedOptions& options, const std::function<bool()>& stopped) {
  std::unique_ptr<EmbeddedFederation> federation(new EmbeddedFederation(options));
  ATOLL_RETURN_IF_ERROR(MakeFolder(options.run_folder / "logs"));
  ATOLL_RETURN_IF_ERROR(MakeFolder(federation->work(), 0700));
  ATOLL_RETURN_IF_ERROR(federation->MakeKeys());
  ATOLL_RETURN_IF_ERROR(federation->StartCoordinator(stopped));
  ATOLL_RETURN_IF_ERROR(federation->StartSites());
  ATOLL_RETURN_IF_ERROR(federation->WriteProcesses());
  return federation;
}

EmbeddedFederation::~EmbeddedFederation() { Stop(); }

absl::Status EmbeddedFederation::MakeKeys() {
  const CryptoSuite& suite = OpensslSuite();
  std::map<SiteId, secagg::RosterEntry> entries;
  for (int i = 1; i <= options_.recipe.site.count; ++i) {
    std::string name = absl::StrCat("site-", i);
    Secret32 seed = SystemRandom().Draw32();
    KeyPair identity = suite.SigningKeyPair(seed);
    ATOLL_RETURN_IF_ERROR(MakeFolder(work() / name, 0700));
    ATOLL_RETURN_IF_ERROR(
        WriteFileAtomic(work() / name / "identity.key", AsBytes(Hex(seed.span()) + "\n"), 0600));
    entries[SiteId(i)] = {name, identity.public_key};
    site_names_[i] = name;
  }
  // The operator's key signs this one roster and is forgotten.
  ATOLL_ASSIGN_OR_RETURN(secagg::Roster roster,
                         secagg::Roster::Create(entries, SystemRandom().Draw32(), suite));
  return WriteFileAtomic(work() / "roster.json", AsBytes(roster.ToJson()));
}

absl::Status EmbeddedFederation::Launch(const std::string& name, uint32_t site_id,
                                        std::vector<std::string> arguments) {
  ProcessOptions options;
  arguments.insert(arguments.begin(), options_.atoll);
  arguments.insert(arguments.end(), {"--die-with-parent", std::to_string(getpid())});
  options.arguments = std::move(arguments);
  options.output_file = options_.run_folder / "logs" / (name + ".log");
  ATOLL_ASSIGN_OR_RETURN(Process process, Process::Start(options));
  children_.push_back(Child{name, site_id, std::move(process), options.output_file});
  return absl::OkStatus();
}

absl::Status EmbeddedFederation::StartCoordinator(const std::function<bool()>& stopped) {
  fs::path ready = options_.run_folder / "coordinator.json";
  ATOLL_RETURN_IF_ERROR(Launch(
      "coordinator", 0,
      {"coordinator", "--listen", absl::StrCat("127.0.0.1:", options_.port), "--data",
       work() / "coordinator", "--roster", work() / "roster.json", "--ready-file", ready,
       "--reconnect-grace-s",
       std::to_string(std::min(kReconnectGraceS, options_.recipe.federation.reconnect_grace_s)),
       "--cohort-wait-s",
       std::to_string(std::min(kCohortWaitS, options_.recipe.federation.cohort_wait_s))}));
  Child& child = children_.back();
  for (int waited_ms = 0; waited_ms < kReadyTimeoutMs; waited_ms += 20) {
    if (stopped()) return absl::CancelledError("stopped while the coordinator started");
    if (auto bytes = ReadFile(ready, 1 << 16); bytes.ok()) {
      Json json = Json::parse(AsText(*bytes), nullptr, false);
      if (!json.is_object() || !json.contains("address") || !json["address"].is_string()) {
        return absl::DataLossError(absl::StrCat(ready.string(), ": has no address"));
      }
      address_ = json["address"];
      return absl::OkStatus();
    }
    if (auto code = child.process.Wait(20); code.ok()) {
      child.reported = true;
      std::string words = LogTail(child.log);
      return absl::UnavailableError(absl::StrCat("the coordinator ended at start (exit code ",
                                                 *code, ")", words.empty() ? "" : ": ", words));
    }
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "the coordinator was not ready in ", kReadyTimeoutMs / 1000, " s; its log: ", child.log));
}

absl::Status EmbeddedFederation::StartSites() {
  const recipes::Recipe& recipe = options_.recipe;
  std::vector<std::string> common = {"site",          "--coordinator",        address_,
                                     "--roster",      work() / "roster.json", "--trainer",
                                     options_.trainer};
  for (const auto& [id, name] : site_names_) {
    std::vector<std::string> arguments = common;
    // Embedded sites may oversubscribe this machine: each offers what the recipe asks of a site.
    arguments.insert(arguments.end(), {"--id", std::to_string(id), "--data", work() / name,
                                       "--log-folder", options_.run_folder / "logs" / name,
                                       "--identity", work() / name / "identity.key", "--cpus",
                                       std::to_string(recipe.resources.cpus), "--memory-gb",
                                       std::to_string(recipe.resources.memory_gb)});
    // Its operator is the person who wrote the recipe, whose word on these two it takes.
    if (!recipe.secure_aggregation.enabled) arguments.push_back("--allow-plain");
    arguments.insert(arguments.end(), {"--cohort-min", std::to_string(CohortFloor(recipe))});
    ATOLL_RETURN_IF_ERROR(Launch(name, id, std::move(arguments)));
  }
  if (recipe.data.evaluate) {
    common.insert(common.end(), {"--role", "evaluator", "--data", work() / "evaluator",
                                 "--log-folder", options_.run_folder / "logs" / "evaluator"});
    ATOLL_RETURN_IF_ERROR(Launch("evaluator", 0, std::move(common)));
  }
  return absl::OkStatus();
}

std::vector<std::string> EmbeddedFederation::NewlyEnded() {
  std::vector<std::string> ended;
  for (Child& child : children_) {
    if (child.reported) continue;
    if (auto code = child.process.Poll()) {
      child.reported = true;
      ended.push_back(
          absl::StrCat(child.name, " ended (exit code ", *code, "); its log: ", child.log));
    }
  }
  return ended;
}

bool EmbeddedFederation::coordinator_runs() {
  return !children_.empty() && !children_[0].process.Poll().has_value();
}

absl::Status EmbeddedFederation::WriteProcesses() {
  Json json = {{"run", getpid()}};
  std::vector<pid_t> known;
  json["sites"] = Json::array();
  for (Child& child : children_) {
    known.push_back(child.process.pid());
    if (child.site_id == 0) {
      json[child.name] = child.process.pid();
    } else {
      json["sites"].push_back(
          Json{{"id", child.site_id}, {"name", child.name}, {"pid", child.process.pid()}});
    }
  }
  json["trainers"] = Json::array();  // mpirun and the ranks, below the sites
  for (pid_t pid : LiveDescendants()) {
    if (std::find(known.begin(), known.end(), pid) == known.end()) json["trainers"].push_back(pid);
  }
  return WriteFileAtomic(options_.run_folder / "processes.json", AsBytes(json.dump(2) + "\n"));
}

void EmbeddedFederation::Stop() {
  // All at once, then wait: sites stop their trainers meanwhile.
  for (Child& child : children_) child.process.Signal(SIGTERM);
  const int64_t deadline_ms = RealClock().NowMs() + kStopGraceMs;
  for (Child& child : children_) {
    child.process.Stop(static_cast<int>(std::max<int64_t>(0, deadline_ms - RealClock().NowMs())));
  }
  children_.clear();
  KillDescendants();  // what was orphaned to this process, a subreaper
}

}  // namespace atl::cli
