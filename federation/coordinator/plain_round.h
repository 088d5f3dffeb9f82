// A round without secure aggregation: the same vectors, commits and sums, without masks.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "federation/secagg/messages.h"
#include "federation/secagg/roster.h"

namespace atl::coordinator {

// In the place of secagg::CoordinatorSlot, with the same names. Commits are signed as under secure
// aggregation, in slot 0 and ctx = ContextOf(H(manifest), members). No I/O, no clock.
class PlainRound {
 public:
  // `roster` and `suite` outlive it. `manifest` is complete: masked false, slot 0, members the
  // participants.
  PlainRound(const secagg::Session& session, const secagg::Roster& roster, const CryptoSuite& suite,
             secagg::Manifest manifest);

  // UNAUTHENTICATED, INVALID_ARGUMENT (not a participant, wrong length), ALREADY_EXISTS for a
  // second, different one.
  absl::Status AddCommit(const secagg::Commit& commit);
  absl::Status AddUploaded(SiteId id);  // FAILED_PRECONDITION before its commit
  // ABORTED under `cohort_min`.
  absl::StatusOr<std::vector<SiteId>> CloseUploads(uint32_t cohort_min) const;

  const secagg::Manifest& manifest() const { return manifest_; }
  const secagg::Commit* commit_of(SiteId id) const;

 private:
  secagg::Session session_;
  const secagg::Roster* roster_;
  const CryptoSuite* suite_;
  secagg::Manifest manifest_;
  Digest context_{};
  std::map<SiteId, secagg::Commit> commits_;
  std::set<SiteId> uploaded_;
};

}  // namespace atl::coordinator
