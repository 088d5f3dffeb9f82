#include "federation/coordinator/split_setup.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::coordinator {

using secagg::Decode;
using secagg::Encode;

bool IsSplitStep(v1::Step step) {
  return step >= v1::REQUEST_GROUP_COMMIT && step <= v1::GROUP_REVEAL_SET;
}

SplitSetup::SplitSetup(JobId job, secagg::CoordinatorSplit split, std::vector<SiteId> invited,
                       int64_t now_ms, Effects& out)
    : job_(job), split_(std::move(split)), invited_(std::move(invited)) {
  Enter(Phase::kCommits, Encode(secagg::GroupOpen{split_.attempt()}), now_ms, out);
}

const std::vector<SiteId>& SplitSetup::Asked() const {
  return phase_ == Phase::kCommits ? invited_ : split_.sites();
}

std::set<SiteId> SplitSetup::Pending() const {
  std::set<SiteId> pending;
  if (phase_ == Phase::kSplit || phase_ == Phase::kAborted) return pending;
  for (SiteId site : Asked()) {
    if (!answered_.contains(site) && !dropped_.contains(site)) pending.insert(site);
  }
  return pending;
}

const char* SplitSetup::Awaited() const {
  return phase_ == Phase::kCommits      ? "its commitment for the split into groups"
         : phase_ == Phase::kSignatures ? "its signature of all commitments"
                                        : "the nonce that it committed to";
}

void SplitSetup::Ask(SiteId site, Effects& out) const {
  v1::Step step = v1::REQUEST_GROUP_COMMIT;
  if (phase_ == Phase::kSignatures) step = v1::GROUP_COMMIT_SET;
  if (phase_ == Phase::kReveals) step = v1::GROUP_SIGNATURE_SET;
  if (phase_ == Phase::kSplit) step = v1::GROUP_REVEAL_SET;
  out.SendStep(site, job_, SlotId(0), RoundId(0), step, question_);
}

void SplitSetup::Enter(Phase phase, Bytes question, int64_t now_ms, Effects& out) {
  phase_ = phase;
  phase_since_ms_ = now_ms;
  question_ = std::move(question);
  answered_.clear();
  for (SiteId site : Asked()) {
    if (!dropped_.contains(site)) Ask(site, out);
  }
}

void SplitSetup::Abort(std::string reason) {
  phase_ = Phase::kAborted;
  reason_ = std::move(reason);
}

absl::Status SplitSetup::Take(SiteId from, v1::Step step, ByteView payload, int64_t now_ms,
                              Effects& out) {
  const v1::Step awaited = phase_ == Phase::kCommits      ? v1::GROUP_COMMIT
                           : phase_ == Phase::kSignatures ? v1::GROUP_SIGNATURE
                           : phase_ == Phase::kReveals    ? v1::GROUP_REVEAL
                                                          : v1::STEP_UNSPECIFIED;
  // Late, repeated or from somebody who is not asked: nothing depends on it any more.
  if (step != awaited || !Pending().contains(from)) return absl::OkStatus();
  // False for an answer to an attempt that is over.
  const auto take = [&](const auto& message, auto add) -> absl::StatusOr<bool> {
    if (message.id != from) {
      return absl::InvalidArgumentError(
          absl::StrCat("it is in the name of site ", message.id.value()));
    }
    if (message.attempt < split_.attempt()) return false;
    ATOLL_RETURN_IF_ERROR((split_.*add)(message));
    return true;
  };
  bool taken = false;
  if (step == v1::GROUP_COMMIT) {
    ATOLL_ASSIGN_OR_RETURN(const auto commit, Decode<secagg::GroupCommit>(payload));
    ATOLL_ASSIGN_OR_RETURN(taken, take(commit, &secagg::CoordinatorSplit::AddCommit));
  } else if (step == v1::GROUP_SIGNATURE) {
    ATOLL_ASSIGN_OR_RETURN(const auto signature, Decode<secagg::GroupSignature>(payload));
    ATOLL_ASSIGN_OR_RETURN(taken, take(signature, &secagg::CoordinatorSplit::AddSignature));
  } else {
    ATOLL_ASSIGN_OR_RETURN(const auto reveal, Decode<secagg::GroupReveal>(payload));
    ATOLL_ASSIGN_OR_RETURN(taken, take(reveal, &secagg::CoordinatorSplit::AddReveal));
  }
  if (!taken) return absl::OkStatus();
  answered_.insert(from);
  CloseIfDone(now_ms, out);
  return absl::OkStatus();
}

void SplitSetup::Drop(SiteId site, int64_t now_ms, Effects& out) {
  if (phase_ == Phase::kSplit || phase_ == Phase::kAborted) return;
  if (!dropped_.insert(site).second) return;
  if (phase_ == Phase::kCommits) {
    split_.Withdraw(site);
  } else if (secagg::Contains(split_.sites(), site)) {
    return Abort(absl::StrCat("site ", site.value(), " was to give ", Awaited()));
  }
  CloseIfDone(now_ms, out);
}

void SplitSetup::Resend(SiteId site, Effects& out) const {
  const bool knows_not = phase_ == Phase::kSplit && secagg::Contains(split_.sites(), site);
  if (knows_not || Pending().contains(site)) Ask(site, out);
}

void SplitSetup::CloseIfDone(int64_t now_ms, Effects& out) {
  if (phase_ == Phase::kSplit || phase_ == Phase::kAborted || !Pending().empty()) return;
  if (absl::Status status = Close(now_ms, out); !status.ok()) Abort(std::string(status.message()));
}

absl::Status SplitSetup::Close(int64_t now_ms, Effects& out) {
  if (phase_ == Phase::kCommits) {
    ATOLL_ASSIGN_OR_RETURN(const auto commits, split_.CloseCommits());
    Enter(Phase::kSignatures, Encode(commits), now_ms, out);
  } else if (phase_ == Phase::kSignatures) {
    ATOLL_ASSIGN_OR_RETURN(const auto signatures, split_.CloseSignatures());
    revealing_ = true;
    Enter(Phase::kReveals, Encode(signatures), now_ms, out);
  } else {
    ATOLL_ASSIGN_OR_RETURN(const auto reveals, split_.CloseReveals());
    Enter(Phase::kSplit, Encode(reveals), now_ms, out);
  }
  return absl::OkStatus();
}

uint32_t SplitSetup::Usable(const std::set<SiteId>& live) const {
  uint32_t usable = 0;
  for (const std::vector<SiteId>& group : groups()) {
    const auto there = static_cast<uint32_t>(std::count_if(
        group.begin(), group.end(), [&](SiteId site) { return live.contains(site); }));
    if (there >= secagg::ThresholdFor(static_cast<uint32_t>(group.size()))) usable += there;
  }
  return usable;
}

}  // namespace atl::coordinator
