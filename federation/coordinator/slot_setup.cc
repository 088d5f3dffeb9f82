#include "federation/coordinator/slot_setup.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"

namespace atl::coordinator {

using secagg::Decode;
using secagg::Encode;

SlotSetup::SlotSetup(JobId job, SlotId id, secagg::GroupedSlot slot, std::vector<SiteId> invited,
                     uint32_t cohort_min, int64_t now_ms, Effects& out)
    : job_(job),
      id_(id),
      slot_(std::move(slot)),
      invited_(std::move(invited)),
      cohort_min_(cohort_min) {
  Enter(Phase::kPreKeys, now_ms, out);
}

std::vector<SiteId> SlotSetup::Asked() const {
  if (phase_ != Phase::kPreKeys) return slot_.u0();
  std::vector<SiteId> asked;
  for (SiteId site : invited_) {
    if (const auto group = slot_.GroupOf(site); group && !slot_.IsOut(*group))
      asked.push_back(site);
  }
  return asked;
}

std::set<SiteId> SlotSetup::Pending() const {
  std::set<SiteId> pending;
  if (phase_ == Phase::kPrepared || phase_ == Phase::kAborted) return pending;
  for (SiteId site : Asked()) {
    if (answered_.contains(site) || dropped_.contains(site)) continue;
    if (phase_ == Phase::kReceipts && !dealt_.contains(site)) continue;
    pending.insert(site);
  }
  return pending;
}

const char* SlotSetup::Awaited() const {
  return phase_ == Phase::kPreKeys  ? "its pre-keys"
         : phase_ == Phase::kShares ? "its shares"
                                    : "its share receipt";
}

void SlotSetup::Ask(SiteId site, Effects& out) const {
  switch (phase_) {
    case Phase::kPreKeys:
      out.SendStep(site, job_, id_, RoundId(0), v1::REQUEST_PRE_KEYS, {});
      break;
    case Phase::kShares:
      out.SendStep(site, job_, id_, RoundId(0), v1::PRE_KEY_SET,
                   pre_key_sets_.at(*slot_.GroupOf(site)));
      break;
    case Phase::kReceipts:
      if (auto delivery = slot_.DeliveryFor(site); delivery.ok()) {
        out.SendStep(site, job_, id_, RoundId(0), v1::SHARE_DELIVERY, Encode(*delivery));
      }
      break;
    case Phase::kPrepared:
    case Phase::kAborted:
      break;
  }
}

void SlotSetup::Enter(Phase phase, int64_t now_ms, Effects& out) {
  phase_ = phase;
  phase_since_ms_ = now_ms;
  answered_.clear();
  for (SiteId site : Pending()) Ask(site, out);
}

void SlotSetup::Abort(std::string reason) {
  phase_ = Phase::kAborted;
  reason_ = std::move(reason);
}

absl::Status SlotSetup::Take(SiteId from, v1::Step step, ByteView payload, int64_t now_ms,
                             Effects& out) {
  const v1::Step awaited = phase_ == Phase::kPreKeys    ? v1::PRE_KEYS
                           : phase_ == Phase::kShares   ? v1::SHARES
                           : phase_ == Phase::kReceipts ? v1::SHARE_RECEIPT
                                                        : v1::STEP_UNSPECIFIED;
  // Late, repeated or from somebody who is not asked: nothing depends on it any more.
  if (step != awaited || !Pending().contains(from)) return absl::OkStatus();
  const auto is_sender = [&](SiteId named) {
    return named == from ? absl::OkStatus()
                         : absl::InvalidArgumentError(
                               absl::StrCat("it is in the name of site ", named.value()));
  };
  if (step == v1::PRE_KEYS) {
    ATOLL_ASSIGN_OR_RETURN(auto record, Decode<secagg::PreKeyRecord>(payload));
    ATOLL_RETURN_IF_ERROR(is_sender(record.id));
    ATOLL_RETURN_IF_ERROR(slot_.AddPreKeys(record));
  } else if (step == v1::SHARES) {
    ATOLL_ASSIGN_OR_RETURN(auto bundle, Decode<secagg::ShareBundle>(payload));
    ATOLL_RETURN_IF_ERROR(is_sender(bundle.dealer));
    ATOLL_RETURN_IF_ERROR(slot_.AddShares(bundle));
    dealt_.insert(from);
  } else {
    ATOLL_ASSIGN_OR_RETURN(auto receipt, Decode<secagg::ShareReceipt>(payload));
    ATOLL_RETURN_IF_ERROR(is_sender(receipt.holder));
    ATOLL_RETURN_IF_ERROR(slot_.AddReceipt(receipt));
  }
  answered_.insert(from);
  CloseIfDone(now_ms, out);
  return absl::OkStatus();
}

void SlotSetup::Drop(SiteId site, int64_t now_ms, Effects& out) {
  if (!dropped_.insert(site).second) return;
  CloseIfDone(now_ms, out);
}

void SlotSetup::Resend(SiteId site, Effects& out) const {
  if (Pending().contains(site)) Ask(site, out);
}

void SlotSetup::RetireGroups(Effects& out) {
  if (!slot_.is_split()) return;
  std::vector<uint32_t> left(slot_.group_count(), 0);
  for (SiteId site : Asked()) {
    if (!dropped_.contains(site)) ++left[*slot_.GroupOf(site)];
  }
  for (uint32_t group = 0; group < left.size(); ++group) {
    if (left[group] < slot_.group(group).threshold()) slot_.Retire(group);
  }
  TellRetired(out);
}

// Their slot is of no use any more.
void SlotSetup::TellRetired(Effects& out) {
  for (SiteId site : invited_) {
    const auto group = slot_.GroupOf(site);
    if (!group || !slot_.IsOut(*group) || told_out_.contains(*group)) continue;
    Send send;
    send.to = site;
    auto* aborted = send.message.mutable_round_aborted();
    aborted->set_job_id(job_.value());
    aborted->set_slot(id_.value());
    aborted->set_reason(absl::StrCat("too few sites of group ", *group + 1, " are left"));
    out.Add(std::move(send));
  }
  for (uint32_t group = 0; group < slot_.group_count(); ++group) {
    if (slot_.IsOut(group)) told_out_.insert(group);
  }
}

void SlotSetup::CloseIfDone(int64_t now_ms, Effects& out) {
  if (phase_ == Phase::kPrepared || phase_ == Phase::kAborted) return;
  // Whatever the others do, will enough be left?
  RetireGroups(out);
  const uint32_t needed = slot_.is_split() || phase_ == Phase::kPreKeys
                              ? cohort_min_
                              : std::max(cohort_min_, slot_.threshold());
  const auto asked = Asked();
  const auto left = std::count_if(asked.begin(), asked.end(),
                                  [&](SiteId site) { return !dropped_.contains(site); });
  if (static_cast<uint64_t>(left) < needed) {
    return Abort(absl::StrCat(left, " of ", asked.size(), " sites are left in slot ", id_.value(),
                              ", it needs ", needed));
  }
  if (!Pending().empty()) return;
  absl::Status status;
  switch (phase_) {
    case Phase::kPreKeys:
      if (auto set = slot_.ClosePreKeys(cohort_min_); set.ok()) {
        for (const auto& [group, of_group] : *set) pre_key_sets_[group] = Encode(of_group);
        TellRetired(out);
        Enter(Phase::kShares, now_ms, out);
      } else {
        status = set.status();
      }
      break;
    case Phase::kShares:
      Enter(Phase::kReceipts, now_ms, out);
      break;
    case Phase::kReceipts:
      status = slot_.CloseShares(cohort_min_);
      TellRetired(out);
      if (status.ok()) Enter(Phase::kPrepared, now_ms, out);
      break;
    case Phase::kPrepared:
    case Phase::kAborted:
      break;
  }
  if (!status.ok()) Abort(std::string(status.message()));
}

}  // namespace atl::coordinator
