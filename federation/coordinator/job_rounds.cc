// JobState's slots and rounds.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "federation/coordinator/job_state.h"
#include "federation/strategy/scale.h"

namespace atl::coordinator {
namespace {

constexpr uint32_t kAttemptsMax = 25;  // at one round, and set-ups in a row

uint32_t CountIn(const std::vector<SiteId>& sites, const std::set<SiteId>& live) {
  return static_cast<uint32_t>(
      std::count_if(sites.begin(), sites.end(), [&](SiteId s) { return live.contains(s); }));
}

}  // namespace

secagg::Session JobState::SessionOf(SlotId slot) const {
  secagg::Session session;
  session.roster = environment_->roster->digest();
  session.run = run_;
  session.slot = slot;
  session.aead = recipe_.secure_aggregation.aead == "chacha20-poly1305" ? Aead::kChaCha20Poly1305
                                                                        : Aead::kAes256Gcm;
  return session;
}

double JobState::Range() const {
  return strategy::RangeOf(strategy::ScaleRuleOf(recipe_.secure_aggregation.scale),
                           recipe_.secure_aggregation.clip_norm_l2, next_range_);
}

RoundPlan JobState::Plan(std::set<SiteId> live, uint32_t sites) const {
  RoundPlan plan;
  plan.job = id_;
  plan.round = RoundId(CurrentRound());
  plan.live = std::move(live);
  plan.cohort_min = static_cast<uint32_t>(recipe_.federation.cohort_min);
  plan.strategy = recipe_.federation.strategy;
  plan.server_lr = recipe_.federation.server_lr;
  plan.earlier = signed_;

  kernels::Segment metrics, update;
  metrics.length = sitelink::kMetricCount;
  metrics.value_bits = sitelink::kMetricValueBits;
  metrics.sum_bits = kernels::SumBits(metrics.value_bits, sites);
  update.length = parameters_;
  update.value_bits = static_cast<uint32_t>(recipe_.secure_aggregation.value_bits);
  update.sum_bits = kernels::SumBits(update.value_bits, sites);
  plan.scale_rule = strategy::ScaleRuleOf(recipe_.secure_aggregation.scale);
  update.scale = strategy::ScaleOf(update, Range());

  secagg::Manifest& manifest = plan.manifest;
  manifest.run = run_;
  manifest.round = plan.round;
  manifest.model = model_;
  manifest.recipe = recipe_digest_;
  manifest.segments = {metrics, update};
  manifest.clip_norm_l2 = recipe_.secure_aggregation.clip_norm_l2;
  manifest.weight_rule = recipe_.federation.weighting == "uniform" ? secagg::WeightRule::kUniform
                                                                   : secagg::WeightRule::kExamples;
  manifest.weight_max = static_cast<uint64_t>(recipe_.federation.weight_max);
  manifest.cipher = recipe_.secure_aggregation.mask_cipher == "chacha20"
                        ? kernels::MaskCipher::kChaCha20
                        : kernels::MaskCipher::kAes256Ctr;
  return plan;
}

void JobState::TakeStep(SiteId site, const v1::SecAgg& step, int64_t now_ms, Effects& out) {
  if (step.step() == v1::RESULT_CHECKED) {
    if (absl::Status status = TakeChecked(site, step, out); !status.ok()) {
      members_[site].refused = true;
      Drop(site, absl::StrCat("RESULT_CHECKED refused: ", std::string(status.message())), now_ms,
           out);
    }
    return;
  }
  if (stage_ != Stage::kRunning) return;
  tally_.bytes_up += step.payload().size();
  const SlotId slot(step.slot());
  const ByteView payload = AsBytes(step.payload());
  absl::Status status;
  if (IsSplitStep(step.step())) {
    if (split_) status = split_->Take(site, step.step(), payload, now_ms, out);
  } else if (const auto at = slots_.find(slot); at != slots_.end()) {
    status = at->second.Take(site, step.step(), payload, now_ms, out);
  } else if (attempt_ && attempt_->plan().slot == slot &&
             (slot.value() != 0 || attempt_->plan().round.value() == step.round())) {
    status = attempt_->Take(site, step.step(), payload, now_ms, out);
  }
  if (!status.ok()) {
    // What does not verify is a broken or a hostile site; a contradiction may be one that lost its
    // memory.
    members_[site].refused = status.code() == absl::StatusCode::kInvalidArgument ||
                             status.code() == absl::StatusCode::kUnauthenticated;
    return Drop(
        site, absl::StrCat(v1::Step_Name(step.step()), " refused: ", std::string(status.message())),
        now_ms, out);
  }
  // A straggler that was given up and speaks again joins at the next set-up.
  if (Member& member = members_[site];
      member.dropped && !member.refused && member.connected && member.accepted) {
    member.dropped = false;
    out.Note(id_, absl::StrCat(Name(site), " is back"));
  }
  Advance(now_ms, out);
}

void JobState::BurnSlot(SlotId slot, const std::set<SiteId>& sites, const std::string& why,
                        Effects& out) {
  for (SiteId site : sites) {
    Send send;
    send.to = site;
    auto* aborted = send.message.mutable_round_aborted();
    aborted->set_job_id(id_.value());
    aborted->set_round(CurrentRound());
    aborted->set_slot(slot.value());
    aborted->set_reason(why);
    out.Add(std::move(send));
  }
  out.Add(ForgetSlot{id_, RoundId(0), slot});
}

// Throws away slots whose set-up failed, and prepared ones that not enough live sites are members
// of.
void JobState::SettleSlots(int64_t now_ms, Effects& out) {
  const std::set<SiteId> live = Live();
  const auto min = static_cast<uint32_t>(recipe_.federation.cohort_min);
  for (auto at = slots_.begin(); at != slots_.end();) {
    SlotSetup& setup = at->second;
    std::string why;
    if (setup.phase() == SlotSetup::Phase::kAborted) {
      why = setup.reason();
      // Sites that left are reason enough, and noted; anything else may happen again for ever.
      if (setup.dropped().empty() && ++setups_failed_ > kAttemptsMax) {
        return End(v1::FAILED,
                   absl::StrCat("no keys could be set up for round ", CurrentRound(), ": ", why),
                   out);
      }
    } else if (setup.phase() == SlotSetup::Phase::kPrepared) {
      setups_failed_ = 0;
      const bool is_split = setup.slot().is_split();
      const uint32_t needed = is_split ? min : std::max(setup.threshold(), min);
      const uint32_t left = is_split ? setup.slot().Usable(live) : CountIn(setup.members(), live);
      if (left < needed) {
        why = absl::StrCat(left, " sites are left, ", needed, " are needed");
      }
    }
    if (why.empty()) {
      ++at;
      continue;
    }
    BurnSlot(at->first, {setup.invited().begin(), setup.invited().end()}, why, out);
    at = slots_.erase(at);
  }
}

void JobState::OpenSlots(int64_t now_ms, Effects& out) {
  if (!recipe_.secure_aggregation.enabled) return;
  std::set<SiteId> live = Live();
  if (live.size() < static_cast<size_t>(recipe_.federation.cohort_min)) return;
  if (IsGrouped()) {
    if (!HasGroups(live)) return;
    // Others join when it is dealt again.
    std::set<SiteId> dealt;
    for (const auto& group : split_->groups()) dealt.insert(group.begin(), group.end());
    std::erase_if(live, [&](SiteId site) { return !dealt.contains(site); });
  }
  const int rounds_left =
      recipe_.federation.rounds - static_cast<int>(rounds_completed_) - (attempt_ ? 1 : 0);
  const int wanted = std::min(std::max(recipe_.federation.slots_ahead, 1), rounds_left);
  while (static_cast<int>(slots_.size()) < wanted) {
    const SlotId slot(next_slot_++);
    slots_.try_emplace(slot, id_, slot,
                       IsGrouped()
                           ? secagg::GroupedSlot(SessionOf(slot), *environment_->roster,
                                                 *environment_->suite, split_->groups(), Terms())
                           : secagg::GroupedSlot(SessionOf(slot), *environment_->roster,
                                                 *environment_->suite, Terms().corrupt_max),
                       std::vector<SiteId>(live.begin(), live.end()),
                       static_cast<uint32_t>(recipe_.federation.cohort_min), now_ms, out);
  }
}

void JobState::BeginRound(int64_t now_ms, Effects& out) {
  const std::set<SiteId> live = Live();
  if (const std::string lack = Lack(live); !lack.empty()) {
    const auto min = static_cast<size_t>(recipe_.federation.cohort_min);
    const auto refused = static_cast<size_t>(std::count_if(
        members_.begin(), members_.end(), [](const auto& item) { return item.second.refused; }));
    if (members_.size() < min + refused) {
      return End(v1::FAILED,
                 absl::StrCat(live.size(), " of at least ", min, " sites left: ", Losses()), out);
    }
    return AwaitCohort(lack, now_ms, out);
  }
  if (waiting_since_ms_ >= 0) {
    waiting_since_ms_ = -1;
    reason_.clear();
    PublishStatus(out);
  }
  if (!recipe_.secure_aggregation.enabled) {
    attempt_ =
        RoundState::Plain(Plan(live, static_cast<uint32_t>(live.size())), SessionOf(SlotId(0)),
                          *environment_->roster, *environment_->suite, now_ms, out);
  } else {
    const auto at = std::find_if(slots_.begin(), slots_.end(), [](const auto& item) {
      return item.second.phase() == SlotSetup::Phase::kPrepared;
    });
    if (at == slots_.end()) return;  // on its way
    const std::set<SiteId> invited(at->second.invited().begin(), at->second.invited().end());
    const SlotId id = at->first;
    std::set<SiteId> members;
    for (SiteId site : at->second.members()) {
      if (live.contains(site)) members.insert(site);
    }
    if (!IsAdmissible(members)) {  // another slot, of all who are there, will do
      const std::string why = "its members differ by one site from a cohort that was signed";
      BurnSlot(id, invited, why, out);
      slots_.erase(at);
      if (++setups_failed_ <= kAttemptsMax) return;
      return End(v1::FAILED,
                 absl::StrCat("no keys could be set up for round ", CurrentRound(), ": ", why), out);
    }
    secagg::GroupedSlot slot = std::move(at->second).Release();
    slots_.erase(at);
    RoundPlan plan = Plan(std::move(members), slot.sites());
    plan.slot = id;
    auto begun = RoundState::Masked(std::move(plan), std::move(slot), now_ms, out);
    if (!begun.ok()) {
      BurnSlot(id, invited, std::string(begun.status().message()), out);
      return End(
          v1::FAILED,
          absl::StrCat("round ", CurrentRound(), ": ", std::string(begun.status().message())), out);
    }
    attempt_ = std::move(begun).value();
  }
  ++tally_.attempts;
  tally_.phase_ms["setup"] = now_ms - tally_.begun_ms;
  const std::set<SiteId> asked = attempt_->Asked();
  tally_.asked.insert(asked.begin(), asked.end());
  threshold_ = attempt_->threshold();
}

void JobState::AwaitCohort(const std::string& why, int64_t now_ms, Effects& out) {
  if (waiting_since_ms_ < 0) waiting_since_ms_ = now_ms;
  if (std::string reason = absl::StrCat("waits for sites: ", why); reason != reason_) {
    reason_ = std::move(reason);
    PublishStatus(out);
  }
}

// Whether sites will sign these survivors beside the ones that were signed in this round.
bool JobState::IsAdmissible(const std::set<SiteId>& sites) const {
  return secagg::CheckCohort(signed_, model_, {sites.begin(), sites.end()}, {}).ok();
}

// An attempt that was aborted gives way to another.
void JobState::SettleAttempt(int64_t now_ms, Effects& out) {
  if (!attempt_ || attempt_->phase() != RoundState::Phase::kAborted) return;
  const std::string why = attempt_->reason();
  for (const secagg::SignedCohort& cohort : attempt_->signed_cohorts()) signed_.push_back(cohort);
  attempt_.reset();
  out.Note(id_, absl::StrCat("round ", CurrentRound(), " aborted: ", why));
  if (tally_.attempts >= kAttemptsMax) {
    End(v1::FAILED,
        absl::StrCat("round ", CurrentRound(), " was aborted ", tally_.attempts,
                     " times, at last: ", why),
        out);
  }
}

void JobState::Uploaded(const UploadComplete& event, int64_t now_ms, Effects& out) {
  if (Ended()) return;
  Heard(event.id.site, now_ms);
  tally_.bytes_up += event.bytes;
  if (!attempt_ || attempt_->plan().slot != event.id.slot ||
      attempt_->plan().round != event.id.round)
    return;
  attempt_->Uploaded(event.id.site, now_ms, out);
  Advance(now_ms, out);
}

void JobState::SumFailed(const coordinator::SumFailed& event, int64_t now_ms, Effects& out) {
  if (!attempt_ || attempt_->plan().slot != event.slot || attempt_->plan().round != event.round)
    return;
  End(v1::FAILED,
      absl::StrCat("the sum of round ", event.round.value(), " could not be made: ", event.why),
      out);
}

void JobState::AbortAttempt(const AttemptFailed& event, int64_t now_ms, Effects& out) {
  if (!attempt_ || attempt_->plan().slot != event.slot || attempt_->plan().round != event.round)
    return;
  attempt_->Abort(event.why, out);
  Advance(now_ms, out);
}

void JobState::Summed(const SumDone& event, int64_t now_ms, Effects& out) {
  if (stage_ != Stage::kRunning || !attempt_ || attempt_->plan().slot != event.slot ||
      attempt_->plan().round != event.round || attempt_->over()) {
    return;
  }
  attempt_->Summed(now_ms);
  std::vector<Digest> old = std::exchange(group_sums_, event.outcome.group_sums);
  old.insert(old.end(), {sum_, previous_model_});
  previous_model_ = model_;
  model_ = event.outcome.next_model;
  sum_ = event.outcome.sum;

  PublishResult(event, now_ms, out);
  tally_.bytes_down += out.TakePayloadBytes();
  reports_.push_back(Close(event.outcome, now_ms));
  next_range_ = event.outcome.next_range;
  blob_round_.clear();
  blob_round_[sum_] = event.round.value();
  blob_round_[model_] = std::min<uint32_t>(event.round.value() + 1, recipe_.federation.rounds);
  ++rounds_completed_;
  attempt_.reset();
  signed_.clear();
  tally_ = Tally();
  tally_.begun_ms = now_ms;
  PublishRound(rounds_completed_, out);
  AskEvaluation(rounds_completed_, now_ms, out);
  for (const Digest& blob : old) {
    if (blob != Digest{} && !Retained().contains(blob)) out.Add(RemoveBlob{blob});
  }
  if (rounds_completed_ < static_cast<uint32_t>(recipe_.federation.rounds))
    return Advance(now_ms, out);
  for (const auto& [slot, setup] : slots_) out.Add(ForgetSlot{id_, RoundId(0), slot});
  slots_.clear();
  stage_ = Stage::kJudging;
  judging_since_ms_ = now_ms;
  SettleResults(out);
}

}  // namespace atl::coordinator
