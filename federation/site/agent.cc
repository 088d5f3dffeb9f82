#include "federation/site/agent.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "comms/base/crypto/suite.h"
#include "comms/base/files.h"
#include "comms/base/log.h"
#include "comms/base/random.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"
#include "federation/site/evaluation_job.h"
#include "federation/site/identity.h"
#include "federation/site/site_job.h"

namespace atl::site {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVersion = "0.1.0";
constexpr std::string_view kHelloLabel = "atoll/hello/v1";
// Masked chunks of up to 2 MiB among them.
constexpr size_t kQueueCapacity = 32;
constexpr int kTickMs = 50;
constexpr int kJobEndGraceMs = 1'500;
constexpr int kStopGraceMs = 800;

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> Agent::Create(const SiteOptions& options, Launcher& launcher,
                                                     Clock& clock) {
  std::unique_ptr<Agent> agent(new Agent(options, launcher, clock));
  ATOLL_RETURN_IF_ERROR(agent->Open());
  return agent;
}

Agent::Agent(SiteOptions options, Launcher& launcher, Clock& clock)
    : options_(std::move(options)), clock_(clock), queue_(kQueueCapacity) {
  services_.launcher = &launcher;
}

Agent::~Agent() {
  queue_.Close();
  control_.reset();
  for (auto& [id, job] : jobs_) job->Stop(0);
}

absl::Status Agent::Open() {
  ATOLL_ASSIGN_OR_RETURN(services_.channel, rpc::ConnectTo(options_.coordinator));
  const bool is_site = options_.role == Role::kSite;
  if (is_site || !options_.roster_file.empty()) {
    ATOLL_ASSIGN_OR_RETURN(secagg::Roster roster, LoadRoster(options_, OpensslSuite()));
    roster_digest_ = roster.digest();
    if (is_site) {
      ATOLL_ASSIGN_OR_RETURN(
          identity_, LoadIdentity(options_, std::move(roster), OpensslSuite(), SystemRandom()));
    }
  }
  const fs::path& data = options_.data_folder;
  if (is_site) {
    // Its lock keeps a second agent out of all of the folder.
    ATOLL_ASSIGN_OR_RETURN(store_, store::SiteStore::Open(data));
    ATOLL_ASSIGN_OR_RETURN(vectors_, store::VectorStore::Open(data / "vectors"));
    services_.identity = &*identity_;
    services_.store = store_.get();
    services_.vectors = vectors_.get();
  } else {
    ATOLL_RETURN_IF_ERROR(MakeFolder(data, 0700));
    ATOLL_ASSIGN_OR_RETURN(lock_, store::FileLock::Take(data / "evaluator.lock", "evaluator"));
  }
  std::error_code ignored;
  services_.jobs_folder = fs::absolute(data, ignored) / "jobs";
  services_.log_folder = options_.log_folder.empty() ? fs::absolute(data, ignored) / "logs"
                                                     : fs::absolute(options_.log_folder, ignored);
  // A former life's sessions, sockets and shared memory.
  fs::remove_all(services_.jobs_folder, ignored);
  ATOLL_RETURN_IF_ERROR(MakeFolder(services_.jobs_folder, 0700));
  ATOLL_RETURN_IF_ERROR(MakeFolder(services_.log_folder));
  ATOLL_ASSIGN_OR_RETURN(RuntimeFolder sockets, RuntimeFolder::Open(data));
  sockets_.emplace(std::move(sockets));
  // An evaluator keeps models only as long as it measures them.
  if (!is_site) fs::remove_all(data / "cache", ignored);
  ATOLL_ASSIGN_OR_RETURN(blobs_, store::BlobStore::Open(data / "cache"));

  services_.blobs = &*blobs_;
  services_.queue = &queue_;
  services_.clock = &clock_;
  services_.send = [this](v1::SiteMessage message) {
    if (control_) control_->Send(std::move(message));
  };
  services_.send_progress = [this](v1::SiteMessage message) {
    if (control_) control_->SendProgress(std::move(message));
  };
  services_.trainer = options_.trainer;
  services_.socket_folder = sockets_->path();
  services_.cpus = options_.cpus;
  services_.relaunch_limit = options_.relaunch_limit;
  services_.spot_check_chunks = options_.spot_check_chunks;
  services_.trainer_start_timeout_ms = options_.trainer_start_timeout_s * 1000;
  return absl::OkStatus();
}

absl::StatusOr<v1::Hello> Agent::MakeHello(const v1::Challenge& challenge) const {
  if (challenge.protocol_version() != rpc::kProtocolVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the coordinator speaks version ", challenge.protocol_version(),
                     " of the protocol, this program version ", rpc::kProtocolVersion,
                     ": use the same release on both sides"));
  }
  const bool is_site = options_.role == Role::kSite;
  if (is_site && AsText(roster_digest_) != challenge.roster_digest()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the coordinator's roster (SHA-256 ", Hex(AsBytes(challenge.roster_digest())),
                     ") is not this site's, ", options_.roster_file.string(), " (",
                     Hex(roster_digest_), "): get the current roster from its operator"));
  }
  v1::Hello hello;
  hello.set_protocol_version(rpc::kProtocolVersion);
  hello.set_site_id(is_site ? options_.site_id : 0);
  hello.set_role(is_site ? v1::ROLE_SITE : v1::ROLE_EVALUATOR);
  hello.set_cpus(options_.cpus);
  hello.set_memory_gb(options_.memory_gb);
  hello.set_version(kVersion);
  if (is_site) {
    if (challenge.nonce().size() != 32) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the coordinator's challenge has ", challenge.nonce().size(), " bytes: must have 32"));
    }
    ByteWriter body;
    body.Raw(AsBytes(kHelloLabel)).Raw(AsBytes(challenge.nonce()));
    const Signature signature = identity_->suite->Sign(identity_->seed, body.bytes());
    hello.set_signature(signature.data(), signature.size());
  }
  return hello;
}

absl::Status Agent::Run() {
  control_ = std::make_unique<ControlStream>(
      services_.channel, options_.coordinator,
      [this](const v1::Challenge& challenge) { return MakeHello(challenge); }, queue_,
      static_cast<ControlEvents&>(*this));
  int64_t next_tick_ms = clock_.NowMs();
  while (!queue_.closed() && refused_.ok()) {
    const int64_t now = clock_.NowMs();
    if (now >= next_tick_ms) {
      for (auto& [id, job] : jobs_) job->Tick();
      next_tick_ms = now + kTickMs;
      continue;
    }
    if (auto event = queue_.Pop(static_cast<int>(next_tick_ms - now))) (*event)();
  }
  queue_.Close();
  control_.reset();
  for (auto& [id, job] : jobs_) job->Stop(kStopGraceMs);
  jobs_.clear();
  return refused_;
}

Job* Agent::Find(uint64_t job) {
  const auto known = jobs_.find(job);
  return known == jobs_.end() ? nullptr : known->second.get();
}

void Agent::OnWelcome() { spdlog::info("connected to coordinator {}", options_.coordinator); }

void Agent::OnDisconnected(const absl::Status& why) {
  spdlog::info("the connection to the coordinator ended; work goes on");
}

void Agent::OnRefused(const absl::Status& why) { refused_ = why; }

void Agent::OnMessage(const v1::CoordinatorMessage& message) {
  const auto with_job = [this](uint64_t id, const char* what, auto then) {
    if (Job* job = Find(id)) {
      then(*job);
    } else {
      spdlog::warn("not answered: {} of job {}, which is not here", what, id);
    }
  };
  switch (message.body_case()) {
    case v1::CoordinatorMessage::kOffer:
      return OnOffer(message.offer());
    case v1::CoordinatorMessage::kSecagg:
      return with_job(message.secagg().job_id(), "a step",
                      [&](Job& job) { job.OnSecAgg(message.secagg()); });
    case v1::CoordinatorMessage::kEvaluate:
      return with_job(message.evaluate().job_id(), "an evaluation",
                      [&](Job& job) { job.OnEvaluate(message.evaluate()); });
    case v1::CoordinatorMessage::kRoundAborted:
      return with_job(message.round_aborted().job_id(), "an aborted round",
                      [&](Job& job) { job.OnRoundAborted(message.round_aborted()); });
    case v1::CoordinatorMessage::kJobEnded:
      return OnJobEnded(message.job_ended());
    default:
      spdlog::warn("not answered: a message of kind {}", static_cast<int>(message.body_case()));
  }
}

void Agent::OnOffer(const v1::JobOffer& message) {
  if (Job* job = Find(message.job_id())) {
    if (AsText(job->offer().run) == message.run() &&
        job->offer().recipe_yaml == message.recipe_yaml() &&
        AsText(job->offer().first_model) == message.first_model()) {
      Decide(message.job_id(), absl::OkStatus());
      return job->OnReconnected();
    }
    spdlog::warn("job {} is another one now", message.job_id());
    EndJob(message.job_id());
  }
  absl::StatusOr<std::unique_ptr<Job>> job = Accept(message);
  Decide(message.job_id(), job.status());
  if (!job.ok()) {
    spdlog::warn("job {} declined: {}", message.job_id(), ToString(job.status()));
    return;
  }
  spdlog::info("job {} accepted: {}", message.job_id(), (*job)->offer().recipe.name);
  (jobs_[message.job_id()] = *std::move(job))->Start();
}

absl::StatusOr<std::unique_ptr<Job>> Agent::Accept(const v1::JobOffer& message) {
  ATOLL_ASSIGN_OR_RETURN(Offer offer, ParseOffer(message));
  ATOLL_RETURN_IF_ERROR(services_.launcher->Check(services_.trainer));
  if (options_.role == Role::kEvaluator) {
    while (jobs_.size() >= kMaxEvaluations) EndJob(jobs_.begin()->first);
    return std::make_unique<EvaluationJob>(std::move(offer), services_);
  }
  ATOLL_RETURN_IF_ERROR(CheckOffer(offer, {options_.cpus, options_.memory_gb, options_.floors}));
  // The coordinator knows what it has given this site to do: what it does not speak of is over.
  while (!jobs_.empty()) EndJob(jobs_.begin()->first);
  return SiteJob::Create(std::move(offer), services_);
}

void Agent::Decide(uint64_t job, const absl::Status& status) {
  v1::SiteMessage message;
  v1::JobDecision& decision = *message.mutable_decision();
  decision.set_job_id(job);
  decision.set_accepted(status.ok());
  decision.set_reason(ForWire(std::string(status.message())));
  services_.send(std::move(message));
}

void Agent::OnJobEnded(const v1::JobEnded& message) {
  if (Find(message.job_id()) == nullptr) return;
  spdlog::info("job {} ended: {} {}", message.job_id(), v1::JobStatus_Name(message.status()),
               message.reason());
  EndJob(message.job_id());
}

void Agent::EndJob(uint64_t id) {
  const auto known = jobs_.find(id);
  if (known == jobs_.end()) return;
  known->second->Stop(kJobEndGraceMs);
  known->second->Forget();
  jobs_.erase(known);
}

}  // namespace atl::site
