#include "federation/secagg/coordinator_split.h"

#include "comms/base/status.h"
#include "federation/secagg/coordinator_impl.h"

namespace atl::secagg {
namespace {

absl::Status CheckAttempt(std::string_view what, uint32_t said, uint32_t attempt) {
  if (said == attempt) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(what), ": of attempt ", said, ", asked for was ", attempt));
}

template <typename M>
absl::Status RequireAll(std::string_view what, const std::map<SiteId, M>& said,
                        const std::vector<SiteId>& sites) {
  if (!sites.empty() && said.size() == sites.size()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(std::string(what), ": ", said.size(), " of ",
                                                    sites.size(), " have come, all are needed"));
}

}  // namespace

absl::Status CoordinatorSplit::AddCommit(const GroupCommit& commit) {
  ATOLL_RETURN_IF_ERROR(CheckAttempt("group commit", commit.attempt, attempt()));
  if (!sites_.empty()) return absl::FailedPreconditionError("group commit: they are closed");
  if (roster_->Find(commit.id) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("group commit: ", Name(commit.id), " is not in the roster"));
  }
  return Keep(committed_, commit.id, commit, "group commit");
}

void CoordinatorSplit::Withdraw(SiteId id) {
  if (sites_.empty()) committed_.erase(id);
}

absl::StatusOr<GroupCommitSet> CoordinatorSplit::CloseCommits() {
  if (!sites_.empty()) return commits_;
  ATOLL_ASSIGN_OR_RETURN(sizes_, PickGroupSizes(static_cast<uint32_t>(committed_.size()), terms_));
  for (const auto& [id, commit] : committed_) {
    commits_.items.push_back({id, commit.commit});
    sites_.push_back(id);
  }
  commits_hash_ = HashOf(commits_);
  return commits_;
}

absl::Status CoordinatorSplit::AddSignature(const GroupSignature& signature) {
  ATOLL_RETURN_IF_ERROR(CheckAttempt("group signature", signature.attempt, attempt()));
  ATOLL_RETURN_IF_ERROR(RequireMember("group signature", sites_, signature.id, "the split"));
  ATOLL_RETURN_IF_ERROR(VerifySite(*suite_, *roster_, session_, signature.id, kGroupCommitsLabel,
                                   commits_hash_, signature.signature));
  return Keep(signatures_, signature.id, signature, "group signature");
}

absl::StatusOr<GroupSignatureSet> CoordinatorSplit::CloseSignatures() const {
  ATOLL_RETURN_IF_ERROR(RequireAll("group signatures", signatures_, sites_));
  GroupSignatureSet set;
  set.attempt = attempt();
  for (const auto& [id, signature] : signatures_) set.items.push_back({id, signature.signature});
  return set;
}

absl::Status CoordinatorSplit::AddReveal(const GroupReveal& reveal) {
  ATOLL_RETURN_IF_ERROR(CheckAttempt("group reveal", reveal.attempt, attempt()));
  ATOLL_RETURN_IF_ERROR(RequireMember("group reveal", sites_, reveal.id, "the split"));
  if (GroupCommitment(session_.run, attempt(), reveal.id, reveal.nonce) !=
      committed_.at(reveal.id).commit) {
    return absl::InvalidArgumentError(absl::StrCat("group reveal: the nonce of ", Name(reveal.id),
                                                   " is not the one committed to"));
  }
  return Keep(reveals_, reveal.id, reveal, "group reveal");
}

absl::StatusOr<GroupRevealSet> CoordinatorSplit::CloseReveals() {
  ATOLL_RETURN_IF_ERROR(RequireAll("group reveals", reveals_, sites_));
  GroupRevealSet set;
  set.attempt = attempt();
  for (const auto& [id, reveal] : reveals_) set.items.push_back({id, reveal.nonce});
  groups_ = AssignGroups(*suite_, session_.run, commits_, set, sizes_);
  return set;
}

}  // namespace atl::secagg
