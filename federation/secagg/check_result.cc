#include "federation/secagg/check_result.h"

#include <algorithm>

#include "comms/base/status.h"
#include "federation/secagg/reveal.h"
#include "federation/secagg/signed_bodies.h"
#include "kernels/vector_layout.h"

namespace atl::secagg {
namespace {

absl::Status Bad(const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("result: ", why));
}

// What holds of any result, masked or not; U3 is then a sorted subset of `cohort`.
absl::Status CheckBasics(const Session& session, const Manifest& manifest, const Digest& context,
                         const std::vector<SiteId>& cohort, const Commit* own, const Roster& roster,
                         const CryptoSuite& suite, const Result& result) {
  if (result.round != manifest.round) {
    return Bad(absl::StrCat("of round ", result.round.value(), ": the manifest is of round ",
                            manifest.round.value()));
  }
  if (!IsSortedSet(IdsOf(result.survivors))) return Bad("U3: a site stands twice or out of order");
  const uint64_t bytes = kernels::VectorLayout(manifest.segments).packed_bytes();
  for (const Commit& member : result.survivors.members) {
    if (!Contains(cohort, member.id)) {
      return Bad(absl::StrCat("U3: ", Name(member.id), " is not in the cohort"));
    }
    if (member.bytes != bytes) {
      return Bad(absl::StrCat("U3: ", Name(member.id), " committed to ", member.bytes,
                              " bytes: the manifest's vector has ", bytes));
    }
    if (own != nullptr && member.id == own->id && member.root != own->root) {
      return Bad("U3: this site's commit is not the one it signed");
    }
    ATOLL_RETURN_IF_ERROR(
        Annotate(VerifySite(suite, roster, session, member.id, kCommitLabel,
                            CommitBody(context, member.bytes, member.root), member.signature),
                 "result"));
  }
  const size_t own_sites = result.survivors.members.size();
  if (result.sites < own_sites || (manifest.group == 0 && result.sites != own_sites)) {
    return Bad(absl::StrCat("a sum of ", result.sites, " sites: U3 has ", own_sites));
  }
  if (manifest.group == 0) {
    if (result.group_sums.size() == 1 && result.group_sums[0] == result.sum) {
      return absl::OkStatus();
    }
    return Bad("groups' sums in a run that is not split: there must be one, the sum");
  }
  if (result.group_sums.size() < manifest.group ||
      result.group_sums[manifest.group - 1] == Digest{}) {
    return Bad(absl::StrCat("no sum of this site's group ", manifest.group));
  }
  return absl::OkStatus();
}

absl::Status CheckSignatures(const SlotFacts& facts, const Roster& roster, const CryptoSuite& suite,
                             const std::vector<SiteId>& u3, const Digest& context,
                             const std::vector<SurvivorSignature>& signatures) {
  const Bytes body = SurvivorsBody(context, u3);
  SiteId last;
  for (const SurvivorSignature& signature : signatures) {
    if (signature.id <= last) {
      return Bad(absl::StrCat(Name(signature.id), " signs twice or out of order"));
    }
    last = signature.id;
    if (!Contains(u3, signature.id)) {
      return Bad(absl::StrCat("the signer ", Name(signature.id), " is not in U3"));
    }
    ATOLL_RETURN_IF_ERROR(Annotate(VerifySite(suite, roster, facts.session, signature.id,
                                              kSurvivorsLabel, body, signature.signature),
                                   "result"));
  }
  if (signatures.size() >= facts.threshold) return absl::OkStatus();
  return Bad(
      absl::StrCat(signatures.size(), " signatures of U3: must be >= t = ", facts.threshold));
}

absl::Status CheckSecrets(const SlotFacts& facts, const CryptoSuite& suite,
                          const std::vector<SiteId>& u3,
                          const std::vector<RevealedSecret>& secrets) {
  if (secrets.size() != facts.cohort.size()) {
    return Bad(absl::StrCat(secrets.size(), " secrets: U2 has ", facts.cohort.size(), " sites"));
  }
  const std::vector<SiteId> u0 = IdsOf(facts.u0);
  for (size_t i = 0; i < secrets.size(); ++i) {
    const SiteId owner = facts.cohort[i];
    const ShareKind kind = Contains(u3, owner) ? ShareKind::kSelf : ShareKind::kMaskKey;
    if (secrets[i].owner != owner || secrets[i].kind != kind) {
      return Bad(absl::StrCat("not the secret of ", Name(owner), " that R4 reveals"));
    }
    const int rank = RankOf(u0, owner);
    if (rank < 0 || !IsSecretOf(suite, facts.session, facts.u0.records[rank], secrets[i])) {
      return Bad(absl::StrCat("the secret of ", Name(owner),
                              " is not the one that it committed "
                              "to"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<MaskStream>> CheckResult(const SlotFacts& facts, const Roster& roster,
                                                    const CryptoSuite& suite,
                                                    const Result& result) {
  const Digest context = ContextOf(HashOf(facts.manifest), facts.cohort);
  const Commit* own = facts.commit ? &*facts.commit : nullptr;
  ATOLL_RETURN_IF_ERROR(CheckBasics(facts.session, facts.manifest, context, facts.cohort, own,
                                    roster, suite, result));
  // It divides the mean: other groups' survivors are not shown here, but there are no more of them.
  if (result.sites > facts.sites_max) {
    return Bad(absl::StrCat("a sum of ", result.sites, " sites: there are ", facts.sites_max));
  }
  const std::vector<SiteId> u3 = IdsOf(result.survivors);
  if (!facts.survivors.empty() && u3 != facts.survivors) {
    return Bad("its survivors are not those that this site signed");
  }
  if (u3.size() < facts.threshold) {
    return Bad(absl::StrCat("U3: ", u3.size(), " sites: must be >= t = ", facts.threshold));
  }
  if (u3.size() < facts.cohort_min) {
    return absl::PermissionDeniedError(
        absl::StrCat("result: U3: ", u3.size(), " sites: this site's floor is ", facts.cohort_min));
  }
  ATOLL_RETURN_IF_ERROR(CheckSignatures(facts, roster, suite, u3, context, result.signatures));
  ATOLL_RETURN_IF_ERROR(CheckSecrets(facts, suite, u3, result.secrets));
  return RevealedStreams(suite, context, facts.manifest.segments, facts.u0, u3, result.secrets);
}

absl::Status CheckPlainResult(const Session& session, const Manifest& manifest, const Commit* own,
                              const Roster& roster, const CryptoSuite& suite,
                              const Result& result) {
  const Digest context = ContextOf(HashOf(manifest), manifest.members);
  if (result.survivors.members.empty()) return Bad("no site's vector is in the sum");
  return CheckBasics(session, manifest, context, manifest.members, own, roster, suite, result);
}

}  // namespace atl::secagg
