#include "federation/coordinator/core.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "federation/scheduler/scheduler.h"
#include "recipes/schema/load.h"

namespace atl::coordinator {
namespace {

constexpr size_t kEndedJobsMax = 1000;
constexpr uint64_t kReportBytesMax = 32 << 20;
constexpr uint32_t kSumsMax = 1 << 16;

}  // namespace

Bytes EncodeEndedJob(const EndedJob& job) {
  ByteWriter out;
  out.Sized(job.report.SerializeAsString()).Raw(job.first_model);
  out.U32(static_cast<uint32_t>(job.sums.size()));
  for (const Digest& sum : job.sums) out.Raw(sum);
  return std::move(out).Take();
}

absl::StatusOr<EndedJob> DecodeEndedJob(ByteView bytes) {
  ByteReader in(bytes);
  EndedJob job;
  const ByteView report = in.SizedView(kReportBytesMax);
  job.first_model = in.Array<32>();
  job.sums.resize(in.Count(kSumsMax, 32));
  for (Digest& sum : job.sums) sum = in.Array<32>();
  ATOLL_RETURN_IF_ERROR(in.Finish("record of a job"));
  if (!job.report.ParseFromArray(report.data(), static_cast<int>(report.size()))) {
    return absl::DataLossError("record of a job: its report does not parse");
  }
  return job;
}

Core::Core(Environment environment) : environment_(environment) {}

void Core::Step(const Event& event, int64_t now_ms, Effects& out) {
  StepPeers(event, now_ms, out);
  if (const auto* submitted = std::get_if<JobSubmitted>(&event)) {
    last_job_ = std::max(last_job_, submitted->job);
    auto recipe = recipes::ParseRecipe(submitted->recipe_yaml, "recipe");
    if (recipe.ok() && !ended_.contains(submitted->job)) {
      jobs_.try_emplace(submitted->job,
                        std::make_unique<JobState>(*submitted, std::move(recipe).value(),
                                                   environment_, evaluator_));
    }
  } else if (const JobId job = JobOf(event); job.value() != 0) {
    if (const auto at = jobs_.find(job); at != jobs_.end())
      StepJob(*at->second, event, now_ms, out);
  } else if (!std::holds_alternative<PeerSaid>(event)) {
    for (auto& [id, state] : jobs_) StepJob(*state, event, now_ms, out);
  }
  CollectEnded(out);
}

void Core::StepPeers(const Event& event, int64_t now_ms, Effects& out) {
  if (const auto* connected = std::get_if<PeerConnected>(&event)) {
    peers_[connected->site] = {
        .connected = true, .cpus = connected->cpus, .memory_gb = connected->memory_gb};
    if (connected->site == kEvaluator) {
      evaluator_ = {
          .connected = true, .ever_connected = true, .since_ms = now_ms, .heard_ms = now_ms};
    }
  } else if (const auto* gone = std::get_if<PeerGone>(&event)) {
    peers_[gone->site].connected = false;
    if (gone->site == kEvaluator) {
      evaluator_.connected = false;
      evaluator_.since_ms = now_ms;
    }
  } else if (std::holds_alternative<Restarted>(event)) {
    for (auto& [site, peer] : peers_) peer.connected = false;
    evaluator_.connected = false;
    evaluator_.since_ms = now_ms;
  } else if (const auto* said = std::get_if<PeerSaid>(&event);
             said != nullptr && said->site == kEvaluator) {
    evaluator_.heard_ms = now_ms;
  }
}

void Core::StepJob(JobState& job, const Event& event, int64_t now_ms, Effects& out) {
  struct Visitor {
    JobState& job;
    int64_t now_ms;
    Effects& out;

    void operator()(const JobSubmitted&) {}
    void operator()(const JobPlaced& e) { job.Place(e.sites, now_ms, out); }
    void operator()(const CancelRequested& e) { job.Cancel(e.reason, now_ms, out); }
    void operator()(const PeerConnected& e) {
      if (e.site == kEvaluator) {
        job.EvaluatorConnected(now_ms, out);
      } else {
        job.Connected(e.site, now_ms, out);
      }
    }
    void operator()(const PeerGone& e) { job.Gone(e.site, e.why, now_ms, out); }
    void operator()(const PeerSaid& e) {
      if (e.message.body_case() == v1::SiteMessage::kProgress) {
        job.Progress(e.site, e.message.progress(), now_ms, out);
      } else {
        job.Said(e.site, e.message, now_ms, out);
      }
    }
    void operator()(const UploadComplete& e) { job.Uploaded(e, now_ms, out); }
    void operator()(const SumDone& e) { job.Summed(e, now_ms, out); }
    void operator()(const SumFailed& e) { job.SumFailed(e, now_ms, out); }
    void operator()(const AttemptFailed& e) { job.AbortAttempt(e, now_ms, out); }
    void operator()(const MemberDropped& e) { job.Drop(e.site, e.why, now_ms, out); }
    void operator()(const CohortWaitOver&) { job.CohortWaitOver(now_ms, out); }
    void operator()(const EvaluationGivenUp& e) { job.GiveUpEvaluation(e.why, now_ms, out); }
    void operator()(const Restarted&) { job.Restarted(now_ms, out); }
    void operator()(const Heard& e) { job.Heard(e.site, now_ms); }
    void operator()(const ResultGivenUp& e) { job.GiveUpResult(e, out); }
  };
  std::visit(Visitor{job, now_ms, out}, event);
}

// Of jobs that have ended only the report stays; their sums go when the next one ends, so that
// sites have time to get them.
void Core::CollectEnded(Effects& out) {
  for (auto at = jobs_.begin(); at != jobs_.end();) {
    if (at->second->stage() != JobState::Stage::kEnded) {
      ++at;
      continue;
    }
    for (auto& [id, ended] : ended_) {
      const std::vector<Digest> sums = std::exchange(ended.sums, {});
      for (const Digest& sum : sums) out.Add(RemoveBlob{sum});
    }
    const JobState& job = *at->second;
    EndedJob& ended = ended_[at->first];
    ended = {
        .report = job.Report(true), .first_model = job.first_model(), .sums = job.group_sums()};
    if (job.sum() != Digest{} &&
        std::find(ended.sums.begin(), ended.sums.end(), job.sum()) == ended.sums.end())
      ended.sums.push_back(job.sum());
    at = jobs_.erase(at);
  }
  while (ended_.size() > kEndedJobsMax) ended_.erase(ended_.begin());
}

std::vector<Event> Core::Due(int64_t now_ms, Effects& out) {
  std::vector<Event> due;
  scheduler::State state;
  for (const auto& [id, job] : jobs_) {
    for (Event& event : job->Due(now_ms)) due.push_back(std::move(event));
    const recipes::Recipe& recipe = job->recipe();
    if (job->stage() == JobState::Stage::kQueued) {
      state.waiting.push_back({.job = id,
                               .order = id.value(),
                               .sites = static_cast<uint32_t>(recipe.site.count),
                               .cohort_min = static_cast<uint32_t>(recipe.federation.cohort_min),
                               .cpus = static_cast<double>(recipe.resources.cpus),
                               .memory_gb = static_cast<double>(recipe.resources.memory_gb)});
    } else {
      state.running.push_back({.job = id,
                               .sites = job->Working(),
                               .cpus = static_cast<double>(recipe.resources.cpus),
                               .memory_gb = static_cast<double>(recipe.resources.memory_gb)});
    }
  }
  if (state.waiting.empty()) return due;
  for (const auto& [site, peer] : peers_) {
    if (site == kEvaluator) continue;
    state.offers.push_back({.site = site,
                            .connected = peer.connected,
                            .cpus = peer.cpus,
                            .memory_gb = peer.memory_gb});
  }
  scheduler::Decision decision = scheduler::Schedule(state);
  for (const scheduler::WaitReason& waiting : decision.waiting)
    jobs_.at(waiting.job)->Wait(waiting.text, out);
  for (scheduler::Placement& placement : decision.placements) {
    due.push_back(JobPlaced{placement.job, std::move(placement.sites)});
  }
  return due;
}

bool Core::NeedsSecrets(JobId job, SlotId slot) const {
  const auto at = jobs_.find(job);
  return at != jobs_.end() && at->second->NeedsSecrets(slot);
}

void Core::RestoreSecrets(JobId job, SlotId slot,
                          const std::vector<secagg::RevealedSecret>& secrets) {
  if (const auto at = jobs_.find(job); at != jobs_.end()) at->second->RestoreSecrets(slot, secrets);
}

void Core::Resume(Effects& out) const {
  for (const auto& [id, job] : jobs_) job->Resume(out);
}

void Core::Restore(EndedJob job) {
  const JobId id(job.report.job_id());
  last_job_ = std::max(last_job_, id);
  ended_[id] = std::move(job);
}

const EndedJob* Core::Ended(JobId job) const {
  const auto at = ended_.find(job);
  return at == ended_.end() ? nullptr : &at->second;
}

bool Core::IsRetained(const Digest& blob) const {
  for (const auto& [id, job] : jobs_) {
    if (job->Retained().contains(blob)) return true;
  }
  return std::any_of(ended_.begin(), ended_.end(), [&](const auto& item) {
    const EndedJob& job = item.second;
    return job.first_model == blob || job.report.model() == AsText(blob) ||
           std::find(job.sums.begin(), job.sums.end(), blob) != job.sums.end();
  });
}

void Core::Downloaded(const Digest& blob, uint64_t bytes) {
  for (auto& [id, job] : jobs_) job->Downloaded(blob, bytes);
}

absl::StatusOr<v1::JobReport> Core::Report(JobId job) const {
  if (const auto at = jobs_.find(job); at != jobs_.end()) return at->second->Report(true);
  if (const EndedJob* ended = Ended(job); ended != nullptr) return ended->report;
  return absl::NotFoundError(absl::StrCat("there is no job ", job.value()));
}

v1::ListJobsReply Core::ReportAll() const {
  v1::ListJobsReply reply;
  std::map<JobId, v1::JobReport> reports;
  for (const auto& [id, ended] : ended_) {
    reports[id] = ended.report;
    reports[id].clear_round_reports();
  }
  for (const auto& [id, job] : jobs_) reports[id] = job->Report(false);
  for (auto& [id, report] : reports) *reply.add_jobs() = std::move(report);

  const auto add = [&](SiteId site, const std::string& name, v1::Role role) {
    v1::SiteReport* report = reply.add_sites();
    report->set_site_id(site.value());
    report->set_name(name);
    report->set_role(role);
    if (const auto at = peers_.find(site); at != peers_.end()) {
      report->set_connected(at->second.connected);
      report->set_cpus(at->second.cpus);
      report->set_memory_gb(at->second.memory_gb);
    }
    for (const auto& [id, job] : jobs_) {
      const std::vector<SiteId> working = job->Working();
      if (std::find(working.begin(), working.end(), site) != working.end())
        report->set_job_id(id.value());
    }
  };
  for (const auto& [site, entry] : environment_.roster->sites())
    add(site, entry.name, v1::ROLE_SITE);
  if (peers_.contains(kEvaluator)) add(kEvaluator, "evaluator", v1::ROLE_EVALUATOR);
  return reply;
}

}  // namespace atl::coordinator
