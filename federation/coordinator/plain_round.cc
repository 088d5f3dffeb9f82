#include "federation/coordinator/plain_round.h"

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::coordinator {

PlainRound::PlainRound(const secagg::Session& session, const secagg::Roster& roster,
                       const CryptoSuite& suite, secagg::Manifest manifest)
    : session_(session),
      roster_(&roster),
      suite_(&suite),
      manifest_(std::move(manifest)),
      context_(secagg::ContextOf(secagg::HashOf(manifest_), manifest_.members)) {}

absl::Status PlainRound::AddCommit(const secagg::Commit& commit) {
  if (!secagg::Contains(manifest_.members, commit.id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("commit: site ", commit.id.value(), " does not take part in the round"));
  }
  const uint64_t bytes = kernels::VectorLayout(manifest_.segments).packed_bytes();
  if (commit.bytes != bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("commit: ", commit.bytes, " bytes, the round's vector has ", bytes));
  }
  ATOLL_RETURN_IF_ERROR(secagg::VerifySite(
      *suite_, *roster_, session_, commit.id, secagg::kCommitLabel,
      secagg::CommitBody(context_, commit.bytes, commit.root), commit.signature));
  const auto [at, is_new] = commits_.emplace(commit.id, commit);
  if (!is_new && at->second.root != commit.root) {
    return absl::AlreadyExistsError(
        absl::StrCat("commit: site ", commit.id.value(), " has committed to another vector"));
  }
  return absl::OkStatus();
}

absl::Status PlainRound::AddUploaded(SiteId id) {
  if (!commits_.contains(id)) {
    return absl::FailedPreconditionError(
        absl::StrCat("upload: site ", id.value(), " has not committed"));
  }
  uploaded_.insert(id);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<SiteId>> PlainRound::CloseUploads(uint32_t cohort_min) const {
  if (uploaded_.size() < cohort_min) {
    return absl::AbortedError(absl::StrCat(uploaded_.size(), " of at least ", cohort_min,
                                           " sites have sent their vectors"));
  }
  return std::vector<SiteId>(uploaded_.begin(), uploaded_.end());
}

const secagg::Commit* PlainRound::commit_of(SiteId id) const {
  const auto at = commits_.find(id);
  return at == commits_.end() ? nullptr : &at->second;
}

}  // namespace atl::coordinator
