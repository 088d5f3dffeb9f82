#include "federation/coordinator/job_state.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "comms/base/crypto/sha256.h"
#include "comms/base/status.h"

namespace atl::coordinator {

JobState::JobState(const JobSubmitted& submitted, recipes::Recipe recipe,
                   const Environment& environment, const EvaluatorState& evaluator)
    : environment_(&environment),
      evaluator_(&evaluator),
      id_(submitted.job),
      recipe_(std::move(recipe)),
      recipe_yaml_(submitted.recipe_yaml),
      recipe_digest_(Sha256::Of(AsBytes(submitted.recipe_yaml))),
      run_(submitted.run),
      parameters_(submitted.parameters),
      first_model_(submitted.first_model),
      model_(submitted.first_model),
      evaluate_(recipe_.data.evaluate) {
  blob_round_[model_] = 1;
}

std::string JobState::Name(SiteId site) const {
  const secagg::RosterEntry* entry = environment_->roster->Find(site);
  return entry != nullptr && !entry->name.empty() ? entry->name
                                                  : absl::StrCat("site ", site.value());
}

int64_t JobState::GraceMs() const {
  return 1000 *
         int64_t{environment_->reconnect_grace_s.value_or(recipe_.federation.reconnect_grace_s)};
}
int64_t JobState::CohortWaitMs() const {
  return 1000 * int64_t{environment_->cohort_wait_s.value_or(recipe_.federation.cohort_wait_s)};
}
int64_t JobState::ProgressMs() const {
  return 1000 * int64_t{recipe_.federation.progress_timeout_s};
}

std::set<SiteId> JobState::Live() const {
  std::set<SiteId> live;
  for (const auto& [site, member] : members_) {
    if (member.live()) live.insert(site);
  }
  return live;
}

std::vector<SiteId> JobState::Working() const {
  std::vector<SiteId> working;
  if (stage_ == Stage::kQueued || Ended()) return working;
  for (const auto& [site, member] : members_) {
    const bool is_needed = stage_ != Stage::kJudging ||
                           std::any_of(results_.begin(), results_.end(), [site = site](const auto& item) {
                             return item.second.pending.contains(site);
                           });
    if (!member.refused && is_needed) working.push_back(site);
  }
  return working;
}

// "site-2 dropped in round 3 (connection closed), site-4 refused (...)".
std::string JobState::Losses() const {
  std::vector<std::string> losses;
  for (const auto& [site, member] : members_) {
    if (member.refused) {
      losses.push_back(absl::StrCat(Name(site), " left (", member.why, ")"));
    } else if (member.dropped) {
      losses.push_back(
          absl::StrCat(Name(site), " dropped in round ", member.dropped_in, " (", member.why, ")"));
    }
  }
  return absl::StrJoin(losses, ", ");
}

void JobState::Place(const std::vector<SiteId>& sites, int64_t now_ms, Effects& out) {
  if (stage_ != Stage::kQueued) return;
  stage_ = Stage::kOffered;
  offered_ms_ = now_ms;
  reason_ = absl::StrCat("asks ", sites.size(), " sites to take part");
  uint32_t index = 0;
  for (SiteId site : sites) {
    Member& member = members_[site];
    member.index = index++;
    member.connected = true;
    member.heard_ms = now_ms;
  }
  PublishStatus(out);
  for (SiteId site : sites) Offer(site, out);
  if (evaluate_ && evaluator_->connected) Offer(kEvaluator, out);
}

void JobState::Offer(SiteId site, Effects& out) const {
  Send send;
  send.to = site;
  v1::JobOffer* offer = send.message.mutable_offer();
  offer->set_job_id(id_.value());
  offer->set_run(run_.data(), run_.size());
  offer->set_recipe_yaml(recipe_yaml_);
  offer->set_model(model_.data(), model_.size());
  offer->set_first_model(first_model_.data(), first_model_.size());
  offer->set_parameters(parameters_);
  offer->set_round(CurrentRound());
  offer->set_site_count(static_cast<uint32_t>(std::max<size_t>(members_.size(), 1)));
  if (const auto at = members_.find(site); at != members_.end())
    offer->set_site_index(at->second.index);
  out.Add(std::move(send));
}

void JobState::Said(SiteId site, const v1::SiteMessage& message, int64_t now_ms, Effects& out) {
  if (Ended()) return;
  if (site == kEvaluator) {
    if (message.body_case() == v1::SiteMessage::kEvaluation) {
      Evaluated(message.evaluation(), now_ms, out);
    } else if (message.body_case() == v1::SiteMessage::kFailure) {
      GiveUpEvaluation(message.failure().reason(), now_ms, out);
    } else if (message.body_case() == v1::SiteMessage::kDecision &&
               !message.decision().accepted()) {
      GiveUpEvaluation(message.decision().reason(), now_ms, out);
    }
    return;
  }
  const auto at = members_.find(site);
  if (at == members_.end()) return;
  at->second.heard_ms = now_ms;
  switch (message.body_case()) {
    case v1::SiteMessage::kDecision:
      Decide(site, message.decision(), now_ms, out);
      break;
    case v1::SiteMessage::kSecagg:
      TakeStep(site, message.secagg(), now_ms, out);
      break;
    case v1::SiteMessage::kFailure:
      if (!at->second.refused) {
        at->second.refused = true;
        Drop(site, message.failure().reason(), now_ms, out);
      }
      break;
    default:
      break;
  }
}

void JobState::Decide(SiteId site, const v1::JobDecision& decision, int64_t now_ms, Effects& out) {
  Member& member = members_[site];
  if (member.refused) return;
  if (!decision.accepted()) {
    member.refused = true;
    Drop(site, absl::StrCat("refused: ", decision.reason()), now_ms, out);
    return;
  }
  const bool was_live = member.live();
  member.accepted = true;
  if (member.dropped) {
    member.dropped = false;
    out.Note(id_, absl::StrCat(Name(site), " is back"));
  }
  if (was_live) return;
  BeginIfDecided(now_ms, out);
  Advance(now_ms, out);
}

void JobState::BeginIfDecided(int64_t now_ms, Effects& out) {
  if (stage_ != Stage::kOffered) return;
  const auto min = static_cast<size_t>(recipe_.federation.cohort_min);
  size_t refused = 0, undecided = 0;
  for (const auto& [site, member] : members_) {
    refused += member.refused;
    undecided += member.undecided();
  }
  if (members_.size() - refused < min) {
    return End(v1::FAILED,
               absl::StrCat(members_.size() - refused, " of at least ", min,
                            " sites take part: ", Losses()),
               out);
  }
  if (undecided > 0) return;
  stage_ = Stage::kRunning;
  status_ = v1::RUNNING;
  reason_.clear();
  tally_ = Tally();
  tally_.begun_ms = now_ms;
  PublishStatus(out);
}

void JobState::Connected(SiteId site, int64_t now_ms, Effects& out) {
  const auto at = members_.find(site);
  if (Ended() || at == members_.end() || at->second.refused) return;
  Member& member = at->second;
  member.connected = true;
  member.heard_ms = now_ms;
  if (stage_ == Stage::kJudging) {
    const std::vector<SiteId> working = Working();
    if (!std::binary_search(working.begin(), working.end(), site)) return;
  }
  Offer(site, out);
  SendOpenResults(site, out);
  // One that was dropped is back when it accepts again; one that was only away goes on where it
  // was.
  if (!member.live()) return;
  if (split_) split_->Resend(site, out);
  for (const auto& [slot, setup] : slots_) setup.Resend(site, out);
  if (attempt_) attempt_->Resend(site, out);
  tally_.bytes_down += out.TakePayloadBytes();
}

void JobState::Gone(SiteId site, const std::string& why, int64_t now_ms, Effects& out) {
  const auto at = members_.find(site);
  if (Ended() || at == members_.end() || !at->second.connected) return;
  at->second.connected = false;
  at->second.gone_ms = now_ms;
  if (!at->second.dropped && !at->second.refused) at->second.why = why;
}

void JobState::Restarted(int64_t now_ms, Effects& out) {
  const int64_t extra_ms =
      std::max<int64_t>(0, 1000 * int64_t{environment_->restart_grace_s} - GraceMs());
  for (auto& [site, member] : members_) {
    member.connected = false;
    member.gone_ms = now_ms + extra_ms;
    member.heard_ms = now_ms;
    if (!member.dropped && !member.refused)
      member.why = "it did not come back after the coordinator's restart";
  }
  if (waiting_since_ms_ >= 0) waiting_since_ms_ = now_ms + extra_ms;
  judging_since_ms_ = now_ms;
  if (attempt_) attempt_->Restarted(now_ms);
  for (auto& [round, open] : results_) {
    open.since_ms = now_ms + extra_ms;
    open.complete = open.slot.value() == 0;
    for (auto& [group, result] : open.results) result.secrets.clear();
  }
  for (Evaluating& evaluating : evaluating_) evaluating.sent = false;
}

void JobState::Heard(SiteId site, int64_t now_ms) {
  if (const auto at = members_.find(site); at != members_.end()) at->second.heard_ms = now_ms;
}

void JobState::Progress(SiteId site, const v1::SiteProgress& progress, int64_t now_ms,
                        Effects& out) {
  if (Ended() || (site != kEvaluator && !members_.contains(site))) return;
  Heard(site, now_ms);
  if (stage_ == Stage::kRunning && progress.round() == CurrentRound()) {
    tally_.mask_hidden_s = std::max(tally_.mask_hidden_s, progress.mask_hidden_s());
    tally_.mask_paid_s = std::max(tally_.mask_paid_s, progress.mask_paid_s());
  }
  Publish publish;
  publish.job = id_;
  v1::SiteProgressReport* report = publish.event.mutable_progress();
  report->set_site_id(site.value());
  report->set_site_name(site == kEvaluator ? "evaluator" : Name(site));
  *report->mutable_progress() = progress;
  out.Add(std::move(publish));
}

void JobState::Wait(const std::string& reason, Effects& out) {
  if (stage_ != Stage::kQueued || reason == reason_) return;
  reason_ = reason;
  PublishStatus(out);
}

void JobState::Drop(SiteId site, const std::string& why, int64_t now_ms, Effects& out) {
  const auto at = members_.find(site);
  if (Ended() || at == members_.end() || at->second.dropped) return;
  Member& member = at->second;
  member.dropped = true;
  member.why = why;
  member.dropped_in = CurrentRound();
  out.Note(id_, absl::StrCat(Name(site), " dropped: ", why));
  if (stage_ == Stage::kRunning) tally_.asked.insert(site);
  if (split_) split_->Drop(site, now_ms, out);
  for (auto& [slot, setup] : slots_) setup.Drop(site, now_ms, out);
  if (attempt_) attempt_->Drop(site, now_ms, out);
  BeginIfDecided(now_ms, out);
  SettleResults(out);
  Advance(now_ms, out);
}

void JobState::Advance(int64_t now_ms, Effects& out) {
  if (stage_ != Stage::kRunning) return;
  SettleAttempt(now_ms, out);
  if (stage_ == Stage::kRunning) SettleSlots(now_ms, out);
  if (stage_ == Stage::kRunning) SettleSplit(now_ms, out);
  if (stage_ == Stage::kRunning && !attempt_) BeginRound(now_ms, out);
  if (stage_ == Stage::kRunning) OpenSlots(now_ms, out);
  tally_.bytes_down += out.TakePayloadBytes();
}

void JobState::CohortWaitOver(int64_t now_ms, Effects& out) {
  if (stage_ != Stage::kRunning || waiting_since_ms_ < 0) return;
  const std::set<SiteId> live = Live();
  const bool is_few = live.size() < static_cast<size_t>(recipe_.federation.cohort_min);
  End(v1::FAILED,
      is_few ? absl::StrCat(live.size(), " of at least ", recipe_.federation.cohort_min,
                            " sites left after ", CohortWaitMs() / 1000, " s: ", Losses())
             : absl::StrCat("no round could begin in ", CohortWaitMs() / 1000, " s: ", Lack(live)),
      out);
}

void JobState::Cancel(const std::string& reason, int64_t now_ms, Effects& out) {
  if (!Ended()) End(v1::CANCELLED, reason.empty() ? "cancelled" : reason, out);
}

void JobState::End(v1::JobStatus status, std::string reason, Effects& out) {
  if (Ended()) return;
  if (attempt_ && !attempt_->over()) attempt_->Abort("the job ended", out);
  attempt_.reset();
  for (const auto& [slot, setup] : slots_) out.Add(ForgetSlot{id_, RoundId(0), slot});
  slots_.clear();
  for (const auto& [round, open] : results_) out.Add(ForgetSlot{id_, round, open.slot});
  const auto closed = std::exchange(results_, {});
  for (const auto& [round, open] : closed) RemoveSums(open, out);
  stage_ = Stage::kEnded;
  status_ = status;
  reason_ = std::move(reason);
  std::vector<SiteId> told;
  for (const auto& [site, member] : members_) told.push_back(site);
  if (evaluate_) told.push_back(kEvaluator);
  for (SiteId site : told) {
    Send send;
    send.to = site;
    auto* ended = send.message.mutable_job_ended();
    ended->set_job_id(id_.value());
    ended->set_status(status_);
    ended->set_reason(reason_);
    out.Add(std::move(send));
  }
  const std::vector<Evaluating> given_up = std::exchange(evaluating_, {});
  for (const Evaluating& evaluating : given_up) {
    if (!Retained().contains(evaluating.model)) out.Add(RemoveBlob{evaluating.model});
  }
  PublishStatus(out);
  out.Add(SaveJob{id_});
}

std::vector<Event> JobState::Due(int64_t now_ms) const {
  std::vector<Event> due;
  if (stage_ == Stage::kQueued || Ended()) return due;
  DueResults(now_ms, due);
  if (stage_ == Stage::kJudging) {
    for (SiteId site : Working()) {
      const Member& member = members_.at(site);
      if (!member.connected && !member.dropped && now_ms - member.gone_ms >= GraceMs())
        due.push_back(MemberDropped{id_, site, member.why});
    }
    if (evaluating_.empty()) return due;
    const int64_t since_ms = std::max(judging_since_ms_, evaluator_->since_ms);
    if (evaluator_->connected) {
      if (now_ms - std::max(since_ms, evaluator_->heard_ms) >= ProgressMs()) {
        due.push_back(EvaluationGivenUp{
            id_, absl::StrCat("the evaluator shows no progress for ", ProgressMs() / 1000, " s")});
      }
    } else if (!evaluator_->ever_connected || now_ms - since_ms >= GraceMs()) {
      due.push_back(EvaluationGivenUp{id_, "no evaluator is connected"});
    }
    return due;
  }
  // Who is waited for, since when, and what for.
  std::map<SiteId, std::pair<int64_t, std::string>> awaited;
  for (const auto& [site, member] : members_) {
    if (stage_ == Stage::kOffered && member.undecided())
      awaited[site] = {offered_ms_, "its answer to the offer"};
  }
  if (split_) {
    for (SiteId site : split_->Pending())
      awaited[site] = {split_->phase_since_ms(), split_->Awaited()};
  }
  for (const auto& [slot, setup] : slots_) {
    for (SiteId site : setup.Pending()) awaited[site] = {setup.phase_since_ms(), setup.Awaited()};
  }
  if (attempt_) {
    for (SiteId site : attempt_->Pending())
      awaited[site] = {attempt_->phase_since_ms(), attempt_->Awaited()};
  }
  if (attempt_ && !attempt_->failure().empty()) {
    due.push_back(
        AttemptFailed{id_, attempt_->plan().round, attempt_->plan().slot, attempt_->failure()});
  }
  for (const auto& [site, member] : members_) {
    if (member.dropped || member.refused) continue;
    if (!member.connected) {
      if (now_ms - member.gone_ms >= GraceMs()) due.push_back(MemberDropped{id_, site, member.why});
      continue;
    }
    const auto at = awaited.find(site);
    if (at != awaited.end() &&
        now_ms - std::max(at->second.first, member.heard_ms) >= ProgressMs()) {
      due.push_back(MemberDropped{id_, site,
                                  absl::StrCat("no progress for ", ProgressMs() / 1000,
                                               " s while waiting for ", at->second.second)});
    }
  }
  if (waiting_since_ms_ >= 0 && now_ms - waiting_since_ms_ >= CohortWaitMs()) {
    due.push_back(coordinator::CohortWaitOver{id_});
  }
  return due;
}

void JobState::Resume(Effects& out) const {
  if (attempt_) attempt_->Resume(out);
  for (const auto& [round, open] : results_) out.Add(open.checks);
}

}  // namespace atl::coordinator
