#include "federation/coordinator/round_state.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::coordinator {

using secagg::Decode;
using secagg::Encode;

namespace {

template <typename M>
std::map<uint32_t, Bytes> EncodeEach(const secagg::GroupedSlot::PerGroup<M>& messages) {
  std::map<uint32_t, Bytes> encoded;
  for (const auto& [group, message] : messages) encoded[group] = Encode(message);
  return encoded;
}

}  // namespace

absl::StatusOr<RoundState> RoundState::Masked(RoundPlan plan, secagg::GroupedSlot slot,
                                              int64_t now_ms, Effects& out) {
  RoundState state(std::move(plan), now_ms);
  ATOLL_ASSIGN_OR_RETURN(const auto manifests, slot.OpenRound(state.plan_.manifest));
  // What the sum needs of it is the same in all groups.
  state.plan_.manifest = manifests.begin()->second;
  for (SiteId site : slot.u1()) {
    if (!state.plan_.live.contains(site)) state.dropped_.insert(site);
  }
  state.slot_ = std::move(slot);
  state.questions_ = EncodeEach(manifests);
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
  state.questions_[0] = Encode(manifest);
  state.Enter(Phase::kUploading, now_ms, out);
  return state;
}

const secagg::Commit* RoundState::CommitOf(SiteId site) const {
  return slot_ ? slot_->commit_of(site) : plain_->commit_of(site);
}

uint32_t RoundState::GroupOf(SiteId site) const {
  return slot_ ? slot_->GroupOf(site).value_or(0) : 0;
}

std::vector<SiteId> RoundState::Members() const {
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
  out.SendStep(site, plan_.job, plan_.slot, plan_.round, step, questions_.at(GroupOf(site)));
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
    ++unread_answers_[GroupOf(from)];
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

// U3 is all sites whose vectors are whole, also those that leave after that: what is added now is
// in the sum, unless the whole group is out.
void RoundState::AddEarly(SiteId site, Effects& out) const {
  const uint32_t group = slot_ ? NumberOf(GroupOf(site)) : 0;
  out.Add(SumEarly{{plan_.job, plan_.round, plan_.slot, site}, group, plan_.manifest.segments});
}

void RoundState::Uploaded(SiteId site, int64_t now_ms, Effects& out) {
  if (phase_ != Phase::kUploading || !secagg::Contains(Members(), site)) return;
  if (!(slot_ ? slot_->AddUploaded(site) : plain_->AddUploaded(site)).ok()) return;
  answered_.insert(site);
  AddEarly(site, out);
  Charge("upload", now_ms);
  CloseIfDone(now_ms, out);
}

void RoundState::Drop(SiteId site, int64_t now_ms, Effects& out) {
  if (over() || !dropped_.insert(site).second) return;
  CloseIfDone(now_ms, out);
}

std::optional<std::string> RoundState::Shortage() {
  struct Count {
    uint32_t done_or_left = 0, left = 0;
  };
  const bool is_split = slot_ && slot_->is_split();
  const bool is_collecting = phase_ == Phase::kTraining || phase_ == Phase::kUploading;
  std::map<uint32_t, Count> groups;
  for (uint32_t g = 0; g < (slot_ ? slot_->group_count() : 1); ++g) {
    if (!slot_ || !slot_->IsOut(g)) groups[g] = {};
  }
  for (SiteId site : Members()) {
    Count& count = groups[GroupOf(site)];
    const bool is_left = !dropped_.contains(site);
    count.left += is_left;
    count.done_or_left += is_left || (phase_ != Phase::kTraining && answered_.contains(site));
  }
  for (const auto& [group, count] : groups) {
    const uint32_t reveal = slot_ ? slot_->group(group).threshold() : 0;
    const uint32_t needed =
        is_collecting && !is_split ? std::max(plan_.cohort_min, reveal) : reveal;
    if (count.done_or_left >= needed && (!is_collecting || count.left >= reveal)) continue;
    if (!is_split) {
      return absl::StrCat(std::min(count.left, count.done_or_left), " sites are left, ", needed,
                          " are needed");
    }
    slot_->Retire(group);
  }
  if (!is_split) return std::nullopt;
  // What a group that is in has, all of it counts: U3, or those who may still come to be in it.
  uint32_t left = 0;
  for (SiteId site : Members()) {
    const bool done = phase_ != Phase::kTraining && answered_.contains(site);
    left += !is_collecting || done || !dropped_.contains(site);
  }
  if (left >= std::max<uint32_t>(plan_.cohort_min, 1)) return std::nullopt;
  return absl::StrCat(left, " sites are left in ", slot_->groups_left(), " of ",
                      slot_->group_count(), " groups, ", plan_.cohort_min, " are needed");
}

// R3 and R4 need t answers of each group, the others' are not waited for.
bool RoundState::HasEnough() const {
  if (phase_ != Phase::kSigning && phase_ != Phase::kUnmasking) return Pending().empty();
  std::map<uint32_t, uint32_t> answers;
  for (SiteId site : answered_) ++answers[GroupOf(site)];
  for (uint32_t group = 0; group < slot_->group_count(); ++group) {
    if (slot_->IsOut(group)) continue;
    const uint32_t threshold = slot_->group(group).threshold();
    const auto unread = unread_answers_.find(group);
    const bool enough = phase_ == Phase::kSigning
                            ? answers[group] >= threshold
                            : slot_->group(group).CanUnmask() ||
                                  (unread != unread_answers_.end() && unread->second >= threshold);
    if (!enough) return false;
  }
  return true;
}

void RoundState::CloseIfDone(int64_t now_ms, Effects& out) {
  if (over() || phase_ == Phase::kSumming) return;
  if (const auto why = Shortage()) return Abort(*why, out);
  if (!HasEnough()) return;
  if (absl::Status status = Close(now_ms, out); !status.ok())
    Abort(std::string(status.message()), out);
}

absl::Status RoundState::Close(int64_t now_ms, Effects& out) {
  switch (phase_) {
    case Phase::kTraining: {
      ATOLL_ASSIGN_OR_RETURN(auto cohort, slot_->CloseReady(plan_.cohort_min));
      questions_ = EncodeEach(cohort);
      Charge("train", now_ms);
      Enter(Phase::kUploading, now_ms, out);
      break;
    }
    case Phase::kUploading: {
      out.Add(CloseUploads{plan_.job, plan_.round, plan_.slot});
      Charge("upload", now_ms);
      if (plain_) {
        ATOLL_ASSIGN_OR_RETURN(survivors_, plain_->CloseUploads(plan_.cohort_min));
        sums_ = {{.number = 0, .survivors = survivors_, .streams = {}}};
        BeginSum(now_ms, out);
        break;
      }
      ATOLL_ASSIGN_OR_RETURN(auto survivors, slot_->CloseUploads(plan_.cohort_min));
      // Before anybody signs: sites would refuse it, and leave the job for good.
      signed_cohorts_.clear();
      for (const auto& [group, set] : survivors) {
        secagg::SignedCohort cohort{plan_.manifest.model, secagg::IdsOf(set), plan_.slot, {}};
        ATOLL_RETURN_IF_ERROR(
            secagg::CheckCohort(plan_.earlier, cohort.model, cohort.survivors, {}));
        signed_cohorts_.push_back(std::move(cohort));
      }
      survivors_ = slot_->u3();
      questions_ = EncodeEach(survivors);
      Enter(Phase::kSigning, now_ms, out);
      break;
    }
    case Phase::kSigning: {
      ATOLL_ASSIGN_OR_RETURN(auto request, slot_->CloseSurvivors(plan_.cohort_min));
      questions_ = EncodeEach(request);
      Enter(Phase::kUnmasking, now_ms, out);
      break;
    }
    case Phase::kUnmasking: {
      Charge("unmask", now_ms);
      survivors_ = slot_->u3();
      TakeStreams(out);
      BeginSum(now_ms, out);
      break;
    }
    default:
      break;
  }
  return absl::OkStatus();
}

void RoundState::TakeStreams(Effects& out) {
  sums_.clear();
  secrets_.clear();
  KeepSecrets keep{plan_.job, plan_.slot, {}};
  for (uint32_t index = 0; index < slot_->group_count(); ++index) {
    if (slot_->IsOut(index)) continue;
    const secagg::CoordinatorSlot& group = slot_->group(index);
    SumGroup sum{NumberOf(index), group.u3(), {}};
    if (group.CanUnmask()) {
      if (absl::Status status = Reveal(group, sum, keep); !status.ok()) {
        // Not decided here: the log knows nothing of the shares, so it has to be told what they
        // came to.
        failure_ = std::string(status.message());
      }
    }
    sums_.push_back(std::move(sum));
  }
  if (!keep.secrets.empty()) out.Add(std::move(keep));
}

absl::Status RoundState::Reveal(const secagg::CoordinatorSlot& group, SumGroup& sum,
                                KeepSecrets& keep) {
  ATOLL_ASSIGN_OR_RETURN(auto secrets, group.RevealSecrets());
  ATOLL_ASSIGN_OR_RETURN(sum.streams, group.StreamsToRemove(secrets));
  keep.secrets.insert(keep.secrets.end(), secrets.begin(), secrets.end());
  secrets_[sum.number] = std::move(secrets);
  return absl::OkStatus();
}

std::map<uint32_t, secagg::Result> RoundState::Results() const {
  std::map<uint32_t, secagg::Result> results;
  if (plain_) {
    secagg::Result& result = results[0];
    result.round = plan_.round;
    for (SiteId site : survivors_) result.survivors.members.push_back(*plain_->commit_of(site));
    return results;
  }
  for (uint32_t index = 0; index < slot_->group_count(); ++index) {
    if (slot_->IsOut(index)) continue;
    secagg::Result& result = results[NumberOf(index)];
    result.round = plan_.round;
    result.survivors = slot_->group(index).survivors();
    result.signatures = slot_->group(index).request().signatures;
    const auto secrets = secrets_.find(NumberOf(index));
    if (secrets != secrets_.end()) result.secrets = secrets->second;
  }
  return results;
}

StartSum RoundState::Task() const {
  const secagg::Manifest& manifest = plan_.manifest;
  StartSum task;
  task.job = plan_.job;
  task.round = plan_.round;
  task.slot = plan_.slot;
  task.segments = manifest.segments;
  task.survivors = survivors_;
  task.groups = sums_;
  task.cipher = manifest.cipher;
  task.model = manifest.model;
  task.weight_rule = manifest.weight_rule;
  task.weight_max = manifest.weight_max;
  task.strategy = plan_.strategy;
  task.server_lr = plan_.server_lr;
  task.scale_rule = plan_.scale_rule;
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
  unread_answers_.clear();
  secrets_.clear();
}

void RoundState::Summed(int64_t now_ms) {
  Charge("sum", now_ms);
  phase_ = Phase::kDone;
  sums_.clear();
}

void RoundState::Abort(std::string reason, Effects& out) {
  if (over()) return;
  phase_ = Phase::kAborted;
  reason_ = std::move(reason);
  sums_.clear();
  secrets_.clear();
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
      if (answered_.contains(site)) {
        AddEarly(site, out);
      } else {
        Allow(site, out);
      }
    }
  }
  if (phase_ == Phase::kSigning || phase_ == Phase::kUnmasking) {
    for (SiteId site : survivors_) AddEarly(site, out);
  }
  if (phase_ == Phase::kSumming) out.Add(Task());
}

}  // namespace atl::coordinator
