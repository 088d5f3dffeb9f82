// The coordinator's side of one attempt to split a run's sites into groups: collects and checks
// each step's messages. No I/O, no clock; deterministic. A message that does not verify is refused
// and changes nothing.
#pragma once

#include <map>
#include <set>

#include "federation/secagg/group_split.h"
#include "federation/secagg/roster.h"

namespace atl::secagg {

class CoordinatorSplit {
 public:
  // `roster` and `suite` outlive it. The session's run and roster count.
  CoordinatorSplit(const Session& session, const Roster& roster, const CryptoSuite& suite,
                   const GroupTerms& terms, uint32_t attempt)
      : session_(session), roster_(&roster), suite_(&suite), terms_(terms) {
    commits_.attempt = attempt;
  }

  // ALREADY_EXISTS for a second, different one, here and below.
  absl::Status AddCommit(const GroupCommit& commit);
  // It has gone: before the commits are closed, it is not one to split.
  void Withdraw(SiteId id);
  // Those who have committed are the ones to split. FAILED_PRECONDITION where no split of so many
  // is safe enough.
  absl::StatusOr<GroupCommitSet> CloseCommits();
  absl::Status AddSignature(const GroupSignature& signature);
  // FAILED_PRECONDITION before all have signed.
  absl::StatusOr<GroupSignatureSet> CloseSignatures() const;
  absl::Status AddReveal(const GroupReveal& reveal);
  // FAILED_PRECONDITION before all have revealed.
  absl::StatusOr<GroupRevealSet> CloseReveals();

  uint32_t attempt() const { return commits_.attempt; }
  const std::vector<SiteId>& sites() const { return sites_; }  // once the commits are closed
  const Groups& groups() const { return groups_; }             // once the reveals are closed

 private:
  Session session_;
  const Roster* roster_;
  const CryptoSuite* suite_;
  GroupTerms terms_;
  std::map<SiteId, GroupCommit> committed_;
  GroupCommitSet commits_;
  Digest commits_hash_{};
  std::vector<SiteId> sites_;
  std::vector<uint32_t> sizes_;
  std::map<SiteId, GroupSignature> signatures_;
  std::map<SiteId, GroupReveal> reveals_;
  Groups groups_;
};

}  // namespace atl::secagg
