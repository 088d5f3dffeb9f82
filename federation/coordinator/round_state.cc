#include "federation/coordinator/round_state.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::coordinator {

using secagg::Decode;
using secagg::Encode;

absl::StatusOr<RoundState> RoundState::Masked(RoundPlan plan, secagg::CoordinatorSlot slot,
                                              int64_t now_ms, Effects& out) {
  RoundState state(std::move(plan), now_ms);
  ATOLL_ASSIGN_OR_RETURN(state.plan_.manifest, slot.OpenRound(state.plan_.manifest));
  for (SiteId site : slot.u1()) {
    if (!state.plan_.live.contains(site)) state.dropped_.insert(site);
  }
  state.slot_ = std::move(slot);
  state.question_ = Encode(state.plan_.manifest);
  state.Enter(Phase::kTraining, now_ms, out);
  return state;
}

RoundState RoundState::Plain(RoundPlan plan, const secagg::Session& session,
                             const secagg::Roster& roster, const CryptoSuite& suite, int64_t now_ms,
                             Effects& out) {
  RoundState state(std::move(plan), now_ms);
  secagg::Manifest& manifest = state.plan_.manifest;
  manifest.masked = false;
  manifest.slot = SlotId(0);
  manifest.members.assign(state.plan_.live.begin(), state.plan_.live.end());
  state.plain_.emplace(session, roster, suite, manifest);
  state.question_ = Encode(manifest);
  state.Enter(Phase::kUploading, now_ms, out);
  return state;
}

const secagg::Commit* RoundState::CommitOf(SiteId site) const {
  return slot_ ? slot_->commit_of(site) : plain_->commit_of(site);
}

const std::vector<SiteId>& RoundState::Members() const {
  if (plain_) return plain_->manifest().members;
  if (phase_ == Phase::kTraining) return slot_->u1();
  return phase_ == Phase::kUploading ? slot_->u2() : slot_->u3();
}

std::set<SiteId> RoundState::Pending() const {
  std::set<SiteId> pending;
  if (over() || phase_ == Phase::kSumming) return pending;
  for (SiteId site : Members()) {
    if (!answered_.contains(site) && !dropped_.contains(site)) pending.insert(site);
  }
  return pending;
}

const char* RoundState::Awaited() const {
  switch (phase_) {
    case Phase::kTraining:
      return "the end of its training";
    case Phase::kUploading:
      return plain_ ? "its vector" : "its masked vector";
    case Phase::kSigning:
      return "its signature of the survivors";
    default:
      return "its shares";
  }
}

void RoundState::Ask(SiteId site, Effects& out) const {
  v1::Step step = v1::MANIFEST;
  if (phase_ == Phase::kUploading && slot_) step = v1::COHORT;
  if (phase_ == Phase::kSigning) step = v1::SURVIVORS;
  if (phase_ == Phase::kUnmasking) step = v1::UNMASK_REQUEST;
  out.SendStep(site, plan_.job, plan_.slot, plan_.round, step, question_);
}

void RoundState::Enter(Phase phase, int64_t now_ms, Effects& out) {
  phase_ = phase;
  phase_since_ms_ = now_ms;
  answered_.clear();
  for (SiteId site : Pending()) Ask(site, out);
}

void RoundState::Charge(const char* phase, int64_t now_ms) {
  phase_ms_[phase] += now_ms - split_ms_;
  split_ms_ = now_ms;
}

void RoundState::Resend(SiteId site, Effects& out) const {
  if (Pending().contains(site)) Ask(site, out);
}

absl::Status RoundState::Take(SiteId from, v1::Step step, ByteView payload, int64_t now_ms,
                              Effects& out) {
  v1::Step awaited = v1::STEP_UNSPECIFIED;
  if (phase_ == Phase::kTraining) awaited = v1::READY;
  if (phase_ == Phase::kUploading) awaited = v1::COMMIT;
  if (phase_ == Phase::kSigning) awaited = v1::SURVIVOR_SIGNATURE;
  if (phase_ == Phase::kUnmasking) awaited = v1::UNMASK_ANSWER;
  // Late, repeated or from somebody who is not asked: nothing depends on it any more.
  if (step != awaited || !Pending().contains(from)) return absl::OkStatus();
  const auto is_sender = [&](SiteId named) {
    return named == from ? absl::OkStatus()
                         : absl::InvalidArgumentError(
                               absl::StrCat("it is in the name of site ", named.value()));
  };
  if (step == v1::COMMIT) return TakeCommit(from, payload, now_ms, out);
  if (step == v1::READY) {
    ATOLL_ASSIGN_OR_RETURN(auto ready, Decode<secagg::Ready>(payload));
    ATOLL_RETURN_IF_ERROR(is_sender(ready.id));
    ATOLL_RETURN_IF_ERROR(slot_->AddReady(ready));
  } else if (step == v1::SURVIVOR_SIGNATURE) {
    ATOLL_ASSIGN_OR_RETURN(auto signature, Decode<secagg::SurvivorSignature>(payload));
    ATOLL_RETURN_IF_ERROR(is_sender(signature.id));
    ATOLL_RETURN_IF_ERROR(slot_->AddSurvivorSignature(signature));
  } else if (payload.empty()) {
    ++unread_answers_;
  } else {
    ATOLL_ASSIGN_OR_RETURN(auto answer, Decode<secagg::UnmaskAnswer>(payload));
    ATOLL_RETURN_IF_ERROR(is_sender(answer.id));
    ATOLL_RETURN_IF_ERROR(slot_->AddAnswer(answer));
  }
  answered_.insert(from);
  CloseIfDone(now_ms, out);
  return absl::OkStatus();
}

absl::Status RoundState::TakeCommit(SiteId from, ByteView payload, int64_t now_ms, Effects& out) {
  ATOLL_ASSIGN_OR_RETURN(auto commit, Decode<secagg::Commit>(payload));
  if (commit.id != from) {
    return absl::InvalidArgumentError(
        absl::StrCat("it is in the name of site ", commit.id.value()));
  }
  const bool is_new = CommitOf(from) == nullptr;
  ATOLL_RETURN_IF_ERROR(slot_ ? slot_->AddCommit(commit) : plain_->AddCommit(commit));
  // Until the last commit sites mask (and, without secure aggregation, train).
  if (is_new) Charge(slot_ ? "mask" : "train", now_ms);
  Allow(from, out);
  return absl::OkStatus();
}

void RoundState::Allow(SiteId site, Effects& out) const {
  const secagg::Commit* commit = CommitOf(site);
  if (commit == nullptr) return;
  const kernels::VectorLayout layout(plan_.manifest.segments);
  AllowUpload allow;
  allow.id = {plan_.job, plan_.round, plan_.slot, site};
  allow.bytes = commit->bytes;
  allow.root = commit->root;
  for (uint32_t i = 0; i < layout.chunk_count(); ++i) {
    allow.chunk_bytes.push_back(static_cast<uint32_t>(layout.chunk(i).bytes));
  }
  out.Add(std::move(allow));
}

void RoundState::Uploaded(SiteId site, int64_t now_ms, Effects& out) {
  if (phase_ != Phase::kUploading || !secagg::Contains(Members(), site)) return;
  if (!(slot_ ? slot_->AddUploaded(site) : plain_->AddUploaded(site)).ok()) return;
  answered_.insert(site);
  Charge("upload", now_ms);
  CloseIfDone(now_ms, out);
}

void RoundState::Drop(SiteId site, int64_t now_ms, Effects& out) {
  if (over() || !dropped_.insert(site).second) return;
  CloseIfDone(now_ms, out);
}

void RoundState::CloseIfDone(int64_t now_ms, Effects& out) {
  if (over() || phase_ == Phase::kSumming) return;
  // Whatever the others do, will enough be left for this step, and to reveal after it?
  const uint32_t reveal = slot_ ? slot_->threshold() : 0;
  uint32_t done_or_left = 0, left = 0;
  for (SiteId site : Members()) {
    const bool is_left = !dropped_.contains(site);
    left += is_left;
    done_or_left += is_left || (phase_ != Phase::kTraining && answered_.contains(site));
  }
  const bool is_collecting = phase_ == Phase::kTraining || phase_ == Phase::kUploading;
  const uint32_t needed = is_collecting ? std::max(plan_.cohort_min, reveal) : reveal;
  if (done_or_left < needed || (is_collecting && left < reveal)) {
    return Abort(
        absl::StrCat(std::min(left, done_or_left), " sites are left, ", needed, " are needed"),
        out);
  }
  // R3 and R4 need t answers, the others' are not waited for.
  const bool enough = phase_ == Phase::kSigning ? answered_.size() >= reveal
                      : phase_ == Phase::kUnmasking
                          ? slot_->CanUnmask() || unread_answers_ >= reveal
                          : Pending().empty();
  if (!enough) return;
  if (absl::Status status = Close(now_ms, out); !status.ok())
    Abort(std::string(status.message()), out);
}

absl::Status RoundState::Close(int64_t now_ms, Effects& out) {
  switch (phase_) {
    case Phase::kTraining: {
      ATOLL_ASSIGN_OR_RETURN(auto cohort, slot_->CloseReady(plan_.cohort_min));
      question_ = Encode(cohort);
      Charge("train", now_ms);
      Enter(Phase::kUploading, now_ms, out);
      break;
    }
    case Phase::kUploading: {
      out.Add(CloseUploads{plan_.job, plan_.round, plan_.slot});
      Charge("upload", now_ms);
      if (plain_) {
        ATOLL_ASSIGN_OR_RETURN(survivors_, plain_->CloseUploads(plan_.cohort_min));
        BeginSum(now_ms, out);
        break;
      }
      ATOLL_ASSIGN_OR_RETURN(auto survivors, slot_->CloseUploads(plan_.cohort_min));
      survivors_ = slot_->u3();
      question_ = Encode(survivors);
      Enter(Phase::kSigning, now_ms, out);
      break;
    }
    case Phase::kSigning: {
      ATOLL_ASSIGN_OR_RETURN(auto request, slot_->CloseSurvivors());
      question_ = Encode(request);
      Enter(Phase::kUnmasking, now_ms, out);
      break;
    }
    case Phase::kUnmasking: {
      Charge("unmask", now_ms);
      absl::StatusOr<std::vector<secagg::MaskStream>> streams = std::vector<secagg::MaskStream>();
      if (slot_->CanUnmask()) streams = slot_->StreamsToRemove();
      // Not decided here: the log knows nothing of the shares, so it has to be told what they came
      // to.
      if (!streams.ok()) failure_ = std::string(streams.status().message());
      streams_ = std::move(streams).value_or(std::vector<secagg::MaskStream>());
      BeginSum(now_ms, out);
      break;
    }
    default:
      break;
  }
  return absl::OkStatus();
}

StartSum RoundState::Task() const {
  const secagg::Manifest& manifest = plan_.manifest;
  StartSum task;
  task.job = plan_.job;
  task.round = plan_.round;
  task.slot = plan_.slot;
  task.segments = manifest.segments;
  task.survivors = survivors_;
  task.streams = streams_;
  task.cipher = manifest.cipher;
  task.model = manifest.model;
  task.weight_rule = manifest.weight_rule;
  task.weight_max = manifest.weight_max;
  task.strategy = plan_.strategy;
  task.server_lr = plan_.server_lr;
  return task;
}

void RoundState::BeginSum(int64_t now_ms, Effects& out) {
  phase_ = Phase::kSumming;
  phase_since_ms_ = now_ms;
  answered_.clear();
  if (failure_.empty()) out.Add(Task());
}

void RoundState::Restarted(int64_t now_ms) {
  if (!slot_ || (phase_ != Phase::kUnmasking && phase_ != Phase::kSumming) || !failure_.empty())
    return;
  phase_ = Phase::kUnmasking;
  phase_since_ms_ = now_ms;
  answered_.clear();
  unread_answers_ = 0;
}

void RoundState::Summed(int64_t now_ms) {
  Charge("sum", now_ms);
  phase_ = Phase::kDone;
  streams_.clear();
}

void RoundState::Abort(std::string reason, Effects& out) {
  if (over()) return;
  phase_ = Phase::kAborted;
  reason_ = std::move(reason);
  streams_.clear();
  for (SiteId site : plan_.live) {
    Send send;
    send.to = site;
    auto* aborted = send.message.mutable_round_aborted();
    aborted->set_job_id(plan_.job.value());
    aborted->set_round(plan_.round.value());
    aborted->set_slot(plan_.slot.value());
    aborted->set_reason(reason_);
    out.Add(std::move(send));
  }
  out.Add(ForgetSlot{plan_.job, plan_.round, plan_.slot});
}

void RoundState::Resume(Effects& out) const {
  if (phase_ == Phase::kUploading) {
    for (SiteId site : Members()) {
      if (!answered_.contains(site)) Allow(site, out);
    }
  }
  if (phase_ == Phase::kSumming) out.Add(Task());
}

}  // namespace atl::coordinator
