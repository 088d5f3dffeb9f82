#include "federation/coordinator/checks.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace atl::coordinator {

Checks::Call::~Call() {
  std::lock_guard lock(checks_.mutex_);
  checks_.served_.erase(site_);
}

void Checks::Open(const AllowChecks& allowed) {
  std::lock_guard lock(mutex_);
  open_[{allowed.job, allowed.round, allowed.slot}] = allowed;
}

void Checks::Close(JobId job, RoundId round, SlotId slot) {
  std::lock_guard lock(mutex_);
  open_.erase({job, round, slot});
}

void Checks::CloseAll() {
  std::lock_guard lock(mutex_);
  open_.clear();
}

absl::StatusOr<std::unique_ptr<Checks::Call>> Checks::Begin(JobId job, RoundId round, SlotId slot,
                                                            SiteId site) {
  std::lock_guard lock(mutex_);
  const auto at = open_.find({job, round, slot});
  if (at == open_.end()) {
    return absl::FailedPreconditionError(absl::StrCat("check of job ", job.value(), ", round ",
                                                      round.value(), ", slot ", slot.value(),
                                                      ": its sum is not to be checked now"));
  }
  if (!at->second.askers.contains(site)) {
    return absl::PermissionDeniedError(absl::StrCat("check of round ", round.value(), ": site ",
                                                    site.value(), " was not in the round"));
  }
  if (!served_.insert(site).second) {
    return absl::AbortedError(absl::StrCat("check of round ", round.value(),
                                           ": another call of site ", site.value(), " is served"));
  }
  return std::make_unique<Call>(*this, at->second, site);
}

}  // namespace atl::coordinator
