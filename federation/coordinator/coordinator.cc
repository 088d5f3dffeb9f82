#include "federation/coordinator/coordinator.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "comms/base/log.h"
#include "comms/base/status.h"
#include "comms/rpc/channel.h"
#include "federation/coordinator/summing.h"
#include "federation/coordinator/trace.h"
#include "federation/secagg/group_bound.h"
#include "recipes/schema/load.h"

namespace atl::coordinator {
namespace {

constexpr char kCoordinatorName[] = "coordinator";
constexpr uint32_t kPublished = 1000;  // kind of what was published; events have smaller kinds
constexpr uint32_t kPageEvents = 512;
constexpr int kTickMs = 50;
constexpr int kPingMs = 10'000;
constexpr int kRetryMs = 500;

// Whether the recipe's sites withstand the corrupt ones that it states.
absl::Status CheckGroups(const recipes::Recipe& recipe) {
  if (!recipe.secure_aggregation.enabled) return absl::OkStatus();
  const auto sites = static_cast<uint32_t>(recipe.site.count);
  const auto corrupt = static_cast<uint32_t>(recipe.secure_aggregation.corrupt_sites_max);
  const auto size_max = static_cast<uint32_t>(recipe.secure_aggregation.group_size_max);
  if (sites > size_max) {
    const auto sizes = secagg::PickGroupSizes(sites, {size_max, corrupt});
    if (sizes.ok()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("recipe: ", std::string(sizes.status().message())));
  }
  if (corrupt == 0 || secagg::Withstands(sites, secagg::ThresholdFor(sites), corrupt))
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("recipe: privacy.secure_aggregation.corrupt_sites_max: ", sites,
                   " sites do not withstand ", corrupt, " corrupt ones"));
}

absl::Status Stopped() { return absl::CancelledError("the coordinator stops"); }

// Events and what follows from them are of no job, so that a job's part of the log is what was
// published of it.
constexpr JobId kInputs{0};

}  // namespace

Coordinator::Coordinator(CoordinatorParts parts)
    : parts_(std::move(parts)),
      early_sums_(*parts_.vectors, parts_.early_sum_vectors),
      core_(Environment{.roster = &parts_.roster,
                        .suite = parts_.suite,
                        .reconnect_grace_s = parts_.reconnect_grace_s,
                        .cohort_wait_s = parts_.cohort_wait_s}) {}

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(CoordinatorParts parts) {
  std::unique_ptr<Coordinator> coordinator(new Coordinator(std::move(parts)));
  ATOLL_RETURN_IF_ERROR(coordinator->Fold());
  coordinator->loop_ = std::thread([c = coordinator.get()] { c->Run(); });
  coordinator->summer_ = std::thread([c = coordinator.get()] { c->RunSums(); });
  return coordinator;
}

Coordinator::~Coordinator() { Stop(); }

void Coordinator::Stop() {
  stopping_ = true;
  {
    std::lock_guard lock(queue_mutex_);
    queued_.notify_all();
    taken_.notify_all();
  }
  {
    std::lock_guard lock(sums_mutex_);
    sums_changed_.notify_all();
  }
  if (loop_.joinable()) loop_.join();
  if (summer_.joinable()) summer_.join();
  std::lock_guard lock(queue_mutex_);
  queue_.clear();  // breaks the promises of those who wait
}

absl::Status Coordinator::health() const {
  std::lock_guard lock(queue_mutex_);
  return health_;
}

absl::Status Coordinator::Fold() {
  ATOLL_ASSIGN_OR_RETURN(auto records, parts_.log->List(store::Table::kJobs));
  for (const store::Record& record : records) {
    ATOLL_ASSIGN_OR_RETURN(EndedJob job, DecodeEndedJob(record.value));
    core_.Restore(std::move(job));
  }
  uint64_t after = 0, count = 0;
  int64_t last_ms = 0;
  while (true) {
    ATOLL_ASSIGN_OR_RETURN(auto events, parts_.log->Read(kInputs, after, kPageEvents));
    if (events.empty()) break;
    for (const store::Event& logged : events) {
      after = logged.id;
      ATOLL_ASSIGN_OR_RETURN(TimedEvent timed, DecodeEvent(logged.payload));
      last_ms = std::max(last_ms, timed.at_ms);
      ++count;
      const JobId job = JobOf(timed.event);
      if (job.value() != 0 && core_.Ended(job) != nullptr) continue;
      Effects effects;  // were carried out then
      core_.Step(timed.event, timed.at_ms, effects);
      Record(effects);
    }
  }
  next_job_ = core_.last_job().value() + 1;
  offset_ms_ = last_ms - parts_.clock->NowMs() + 1;
  if (count == 0) return absl::OkStatus();
  spdlog::info("took up the log: {} events, {} jobs to go on with", count, core_.unfinished_jobs());
  Act(Restarted{});
  ATOLL_RETURN_IF_ERROR(TakeUpSecrets());
  Effects effects;
  core_.Resume(effects);
  CarryOut(std::move(effects));
  return health();
}

// What was kept beside the log goes to the results that need it; what no round needs any more,
// since the coordinator ended just then, is erased.
absl::Status Coordinator::TakeUpSecrets() {
  ATOLL_ASSIGN_OR_RETURN(const auto slots, parts_.log->SlotsWithSecrets());
  for (const auto& [job, slot] : slots) {
    if (!core_.NeedsSecrets(job, slot)) {
      ATOLL_RETURN_IF_ERROR(parts_.log->EraseSecrets(job, slot));
      continue;
    }
    ATOLL_ASSIGN_OR_RETURN(std::vector<store::RevealedSecret> kept, parts_.log->Secrets(job, slot));
    std::vector<secagg::RevealedSecret> secrets;
    for (store::RevealedSecret& secret : kept) {
      auto decoded = DecodeSecret(secret.site, secret.value);
      Wipe(secret.value);
      ATOLL_RETURN_IF_ERROR(decoded.status());
      secrets.push_back(*std::move(decoded));
    }
    core_.RestoreSecrets(job, slot, secrets);
  }
  return absl::OkStatus();
}

void Coordinator::Forget(const ForgetSlot& slot) {
  if (slot.round.value() == 0) return;  // nothing came for it
  uploads_.Close(slot.job, slot.round, slot.slot);
  checks_.Close(slot.job, slot.round, slot.slot);
  early_sums_.Forget(slot.job, slot.round, slot.slot);
  absl::Status status = parts_.vectors->RemoveSlot(slot.job, slot.round, slot.slot);
  if (!status.ok()) spdlog::warn("staged vectors stay: {}", ToString(status));
  if (slot.slot.value() == 0) return;  // without secure aggregation
  status = parts_.log->EraseSecrets(slot.job, slot.slot);
  if (!status.ok()) spdlog::warn("revealed secrets stay: {}", ToString(status));
}

// Makes durable what a restart does not fold again.
void Coordinator::Record(Effects& effects) {
  for (const Effect& effect : effects.list()) {
    const auto* save = std::get_if<SaveJob>(&effect);
    if (save == nullptr) continue;
    if (const EndedJob* ended = core_.Ended(save->job); ended != nullptr) {
      store::Batch batch;
      batch.records.push_back({store::Table::kJobs, save->job.value(), EncodeEndedJob(*ended)});
      (void)Write(batch);
    }
  }
}

// Tries again while the disk is full: nothing is acted on that is not written.
absl::StatusOr<uint64_t> Coordinator::Write(const store::Batch& batch) {
  while (true) {
    auto id = parts_.log->Write(batch);
    if (id.ok()) return id;
    spdlog::error("the event log cannot be written: {}", ToString(id.status()));
    const bool may_pass = id.status().code() == absl::StatusCode::kResourceExhausted ||
                          id.status().code() == absl::StatusCode::kUnavailable;
    std::unique_lock lock(queue_mutex_);
    if (!may_pass) {
      health_ = id.status();
      stopping_ = true;
    }
    if (stopping_) return id.status();
    queued_.wait_for(lock, std::chrono::milliseconds(kRetryMs),
                     [this] { return stopping_.load(); });
  }
}

void Coordinator::Act(const Event& event) {
  const int64_t now_ms = NowMs();
  if (std::holds_alternative<PeerSaid>(event) && !core_.IsUnfinished(JobOf(event))) return;  // late
  if (IsLogged(event)) {
    store::Batch batch;
    batch.events.push_back({kInputs, KindOf(event), EncodeEvent(event, now_ms)});
    if (!Write(batch).ok()) return;
  }
  TraceEvent(event);
  Effects effects;
  {
    std::lock_guard lock(core_mutex_);
    core_.Step(event, now_ms, effects);
  }
  CarryOut(std::move(effects));
}

std::string Coordinator::NameOf(SiteId site) const {
  const secagg::RosterEntry* entry = parts_.roster.Find(site);
  return entry != nullptr && !entry->name.empty() ? entry->name
                                                  : absl::StrCat("site ", site.value());
}

void Coordinator::TraceStep(const v1::SecAgg& step, std::string from, std::string to) {
  const JobId job(step.job_id());
  if (!watchers_.IsTraced(job)) return;
  v1::JobEvent event;
  event.set_unix_ms(parts_.clock->UnixMs());
  v1::TraceReport& trace = *event.mutable_trace();
  trace.set_from(std::move(from));
  trace.set_to(std::move(to));
  trace.set_round(step.round());
  trace.set_slot(step.slot());
  trace.set_title(StepTitle(step.step()));
  trace.set_summary(DescribeStep(step.step(), AsBytes(step.payload())));
  trace.set_bytes(step.payload().size());
  watchers_.Trace(job, event);
}

void Coordinator::TraceEvent(const Event& event) {
  if (const auto* said = std::get_if<PeerSaid>(&event);
      said != nullptr && said->message.has_secagg()) {
    return TraceStep(said->message.secagg(), NameOf(said->site), kCoordinatorName);
  }
  const auto* uploaded = std::get_if<UploadComplete>(&event);
  if (uploaded == nullptr || !watchers_.IsTraced(uploaded->id.job)) return;
  v1::JobEvent report;
  report.set_unix_ms(parts_.clock->UnixMs());
  v1::TraceReport& trace = *report.mutable_trace();
  trace.set_from(NameOf(uploaded->id.site));
  trace.set_to(kCoordinatorName);
  trace.set_round(uploaded->id.round.value());
  trace.set_slot(uploaded->id.slot.value());
  trace.set_title("R2 vector");
  trace.set_summary("all chunks are durable and have the committed root");
  trace.set_bytes(uploaded->bytes);
  watchers_.Trace(uploaded->id.job, report);
}

void Coordinator::CarryOut(Effects effects) {
  store::Batch batch;
  std::vector<JobId> news;
  for (Effect& effect : effects.list()) {
    if (const auto* keep = std::get_if<KeepSecrets>(&effect)) {
      for (const secagg::RevealedSecret& secret : keep->secrets) {
        batch.secrets.push_back({keep->job, keep->slot, secret.owner, EncodeSecret(secret)});
      }
    }
    auto* publish = std::get_if<Publish>(&effect);
    if (publish == nullptr) continue;
    publish->event.set_unix_ms(parts_.clock->UnixMs());
    if (publish->event.body_case() == v1::JobEvent::kProgress) {
      watchers_.Progress(publish->job, publish->event);
      continue;
    }
    if (publish->event.body_case() == v1::JobEvent::kNote) {
      spdlog::info("job {}: {}", publish->job.value(), publish->event.note());
    }
    const std::string bytes = publish->event.SerializeAsString();
    batch.events.push_back({publish->job, kPublished, Bytes(bytes.begin(), bytes.end())});
    news.push_back(publish->job);
  }
  if (!batch.events.empty() || !batch.secrets.empty()) {
    const absl::Status written = Write(batch).status();
    for (store::RevealedSecret& secret : batch.secrets) Wipe(secret.value);
    if (!written.ok()) return;
  }
  Record(effects);
  for (JobId job : news) watchers_.MoreInLog(job);

  for (Effect& effect : effects.list()) {
    if (auto* send = std::get_if<Send>(&effect)) {
      if (send->message.has_secagg()) {
        TraceStep(send->message.secagg(), kCoordinatorName, NameOf(send->to));
      }
      connections_.Send(send->to, std::move(send->message));
    } else if (auto* allow = std::get_if<AllowUpload>(&effect)) {
      uploads_.Open(*allow);
    } else if (auto* close = std::get_if<CloseUploads>(&effect)) {
      uploads_.Close(close->job, close->round, close->slot);
    } else if (auto* forget = std::get_if<ForgetSlot>(&effect)) {
      Forget(*forget);
    } else if (const auto* checks = std::get_if<AllowChecks>(&effect)) {
      checks_.Open(*checks);
    } else if (const auto* early = std::get_if<SumEarly>(&effect)) {
      early_sums_.Add(*early);
    } else if (auto* sum = std::get_if<StartSum>(&effect)) {
      std::lock_guard lock(sums_mutex_);
      sums_.push_back(std::move(*sum));
      sums_changed_.notify_all();
    } else if (auto* remove = std::get_if<RemoveBlob>(&effect)) {
      {
        std::lock_guard lock(core_mutex_);
        if (core_.IsRetained(remove->root)) continue;
      }
      if (absl::Status status = parts_.blobs.Remove(remove->root); !status.ok()) {
        spdlog::warn("an old blob stays: {}", ToString(status));
      }
    }
  }
}

void Coordinator::Run() {
  auto next_tick = std::chrono::steady_clock::now();
  auto next_ping = next_tick + std::chrono::milliseconds(kPingMs);
  while (!stopping_) {
    std::optional<Item> item;
    {
      std::unique_lock lock(queue_mutex_);
      queued_.wait_until(lock, next_tick, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) break;
      if (!queue_.empty()) {
        item = std::move(queue_.front());
        queue_.pop_front();
        taken_.notify_all();
      }
    }
    if (item) {
      Act(item->event);
      if (item->done != nullptr && !stopping_) item->done->set_value();
    }
    const auto now = std::chrono::steady_clock::now();
    if (now < next_tick) continue;
    next_tick = now + std::chrono::milliseconds(kTickMs);
    Tick();
    if (now < next_ping) continue;
    next_ping = now + std::chrono::milliseconds(kPingMs);
    v1::CoordinatorMessage ping;
    ping.mutable_ping();
    connections_.SendToAll(ping);
  }
  connections_.CloseAll();
  uploads_.CloseAll();
  checks_.CloseAll();
  watchers_.StopAll();
  std::lock_guard lock(queue_mutex_);
  stopping_ = true;
  taken_.notify_all();
}

void Coordinator::Tick() {
  Effects effects;
  std::vector<Event> due;
  {
    std::lock_guard lock(core_mutex_);
    due = core_.Due(NowMs(), effects);
  }
  CarryOut(std::move(effects));
  for (const Event& event : due) {
    if (stopping_) return;
    Act(event);
  }
}

void Coordinator::RunSums() {
  while (true) {
    StartSum task;
    {
      std::unique_lock lock(sums_mutex_);
      sums_changed_.wait(lock, [this] { return stopping_ || !sums_.empty(); });
      if (stopping_) return;
      task = std::move(sums_.front());
      sums_.pop_front();
    }
    auto outcome = SumRound(task, early_sums_.Take(task), parts_.blobs, *parts_.vectors,
                            parts_.sum_threads, stopping_);
    if (stopping_) return;
    if (outcome.ok()) {
      (void)Post(SumDone{task.job, task.round, task.slot, *std::move(outcome)});
    } else {
      (void)Post(
          SumFailed{task.job, task.round, task.slot, std::string(outcome.status().message())});
    }
  }
}

absl::Status Coordinator::Post(Event event) {
  std::unique_lock lock(queue_mutex_);
  taken_.wait(lock, [this] { return stopping_ || queue_.size() < kMaxQueued; });
  if (stopping_) return Stopped();
  queue_.push_back({std::move(event), nullptr});
  queued_.notify_one();
  return absl::OkStatus();
}

absl::Status Coordinator::PostAndWait(Event event) {
  auto done = std::make_shared<std::promise<void>>();
  std::future<void> future = done->get_future();
  {
    std::unique_lock lock(queue_mutex_);
    taken_.wait(lock, [this] { return stopping_ || queue_.size() < kMaxQueued; });
    if (stopping_) return Stopped();
    queue_.push_back({std::move(event), std::move(done)});
    queued_.notify_one();
  }
  while (future.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready) {
    if (stopping_) return Stopped();
  }
  try {
    future.get();
  } catch (const std::future_error&) {
    return Stopped();
  }
  return absl::OkStatus();
}

void Coordinator::Attach(std::shared_ptr<Connection> connection, double cpus, double memory_gb) {
  std::lock_guard lock(attach_mutex_);
  const SiteId site = connection->site();
  connections_.Put(std::move(connection));
  (void)Post(PeerConnected{site, cpus, memory_gb});
}

void Coordinator::Detach(const Connection& connection, const std::string& why) {
  std::lock_guard lock(attach_mutex_);
  if (connections_.Remove(connection)) (void)Post(PeerGone{connection.site(), why});
}

absl::StatusOr<JobId> Coordinator::Submit(const std::string& recipe_yaml, const Digest& first_model,
                                          uint64_t parameters) {
  ATOLL_ASSIGN_OR_RETURN(const recipes::Recipe recipe, recipes::ParseRecipe(recipe_yaml, "recipe"));
  if (recipe.federation.cohort_min > recipe.site.count) {
    return absl::InvalidArgumentError(
        absl::StrCat("recipe: federation.cohort.min: ", recipe.federation.cohort_min,
                     " must be <= site.count, ", recipe.site.count));
  }
  ATOLL_RETURN_IF_ERROR(CheckGroups(recipe));
  if (parameters == 0 || parameters > kernels::kMaxElements) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameters: ", parameters, " must be in [1, ", kernels::kMaxElements, "]"));
  }
  ATOLL_ASSIGN_OR_RETURN(const store::BlobReader blob, parts_.blobs.OpenBlob(first_model));
  if (blob.bytes() != 4 * parameters) {
    return absl::InvalidArgumentError(absl::StrCat("the first model has ", blob.bytes(), " bytes, ",
                                                   parameters, " parameters need ",
                                                   4 * parameters));
  }
  for (uint32_t i = 0; i + 1 < blob.chunk_count(); ++i) {
    if (blob.chunk_bytes(i) != rpc::kBlobChunkBytes) {
      return absl::InvalidArgumentError(absl::StrCat("the first model's chunk ", i, " has ",
                                                     blob.chunk_bytes(i), " bytes, not ",
                                                     rpc::kBlobChunkBytes));
    }
  }
  std::lock_guard submitting(submit_mutex_);
  {
    std::lock_guard lock(core_mutex_);
    if (core_.unfinished_jobs() >= kMaxUnfinishedJobs) {
      return absl::ResourceExhaustedError(
          absl::StrCat(core_.unfinished_jobs(), " jobs wait or run already"));
    }
  }
  JobSubmitted submitted;
  submitted.job = JobId(next_job_++);
  submitted.recipe_yaml = recipes::ToYaml(recipe);
  submitted.first_model = first_model;
  submitted.parameters = parameters;
  parts_.random->Fill(submitted.run);
  const JobId job = submitted.job;
  ATOLL_RETURN_IF_ERROR(PostAndWait(std::move(submitted)));
  spdlog::info("job {}: '{}' was submitted", job.value(), recipe.name);
  return job;
}

absl::Status Coordinator::Cancel(JobId job, const std::string& reason) {
  {
    std::lock_guard lock(core_mutex_);
    ATOLL_RETURN_IF_ERROR(core_.Report(job).status());
    if (core_.Ended(job) != nullptr) {
      return absl::FailedPreconditionError(absl::StrCat("job ", job.value(), " has ended already"));
    }
  }
  return PostAndWait(CancelRequested{job, reason});
}

absl::StatusOr<v1::JobReport> Coordinator::Report(JobId job) const {
  std::lock_guard lock(core_mutex_);
  return core_.Report(job);
}

v1::ListJobsReply Coordinator::ReportAll() const {
  std::lock_guard lock(core_mutex_);
  return core_.ReportAll();
}

absl::StatusOr<std::vector<v1::JobEvent>> Coordinator::Published(JobId job, uint64_t after) {
  ATOLL_ASSIGN_OR_RETURN(auto events, parts_.log->Read(job, after, kPageEvents));
  std::vector<v1::JobEvent> published;
  for (const store::Event& logged : events) {
    v1::JobEvent event;
    if (logged.kind != kPublished ||
        !event.ParseFromArray(logged.payload.data(), static_cast<int>(logged.payload.size()))) {
      return absl::DataLossError(absl::StrCat("event log: event ", logged.id, " does not parse"));
    }
    event.set_id(logged.id);
    published.push_back(std::move(event));
  }
  return published;
}

void Coordinator::Downloaded(const Digest& blob, uint64_t bytes) {
  std::lock_guard lock(core_mutex_);
  core_.Downloaded(blob, bytes);
}

}  // namespace atl::coordinator
