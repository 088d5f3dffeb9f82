// R0 to R3 at the coordinator: the manifest, and the sets U2 and U3 as sites' signatures make them.
#include "federation/secagg/coordinator_impl.h"
#include "kernels/vector_layout.h"

namespace atl::secagg {

absl::StatusOr<Manifest> CoordinatorSlot::OpenRound(Manifest draft) {
  Impl& s = *impl_;
  draft.masked = true;
  draft.run = s.session.run;
  draft.slot = s.session.slot;
  draft.group = s.session.group;
  draft.pre_keys = s.pre_keys_hash;
  draft.members = s.u1;
  draft.threshold = s.threshold;
  draft.aead = s.session.aead;
  if (s.phase > Impl::Phase::kManifest && HashOf(draft) == s.manifest_hash) return draft;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kManifest, "manifest"));
  const std::string problem = kernels::VectorLayout::Problem(draft.segments);
  if (!problem.empty()) return absl::InvalidArgumentError(absl::StrCat("manifest: ", problem));
  for (const kernels::Segment& segment : draft.segments) {
    const auto sites = std::max(s.scope.total, static_cast<uint32_t>(s.u0.size()));
    if (const uint32_t least = kernels::SumBits(segment.value_bits, sites);
        segment.sum_bits < least) {
      return absl::InvalidArgumentError(absl::StrCat("manifest: sum_bits ", segment.sum_bits,
                                                     ": must be >= ", least, " for ", sites,
                                                     " sites"));
    }
  }
  s.manifest = draft;
  s.manifest_hash = HashOf(draft);
  s.phase = Impl::Phase::kReady;
  return draft;
}

absl::Status CoordinatorSlot::AddReady(const Ready& ready) {
  Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kReady, "ready"));
  ATOLL_RETURN_IF_ERROR(RequireMember("ready", s.u1, ready.id, "U1"));
  ATOLL_RETURN_IF_ERROR(
      s.Verify(ready.id, kReadyLabel, ReadyBody(s.manifest_hash), ready.signature));
  return Keep(s.readies, ready.id, ready, "ready");
}

absl::StatusOr<CohortSet> CoordinatorSlot::CloseReady(uint32_t cohort_min) {
  Impl& s = *impl_;
  if (s.phase > Impl::Phase::kReady) return s.cohort;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kReady, "U2"));
  ATOLL_RETURN_IF_ERROR(s.Enough("U2", s.readies.size(), cohort_min));
  for (const auto& [id, ready] : s.readies) {
    s.cohort.members.push_back(ready);
    s.u2.push_back(id);
  }
  s.context = ContextOf(s.manifest_hash, s.u2);
  s.phase = Impl::Phase::kUploads;
  return s.cohort;
}

absl::Status CoordinatorSlot::AddCommit(const Commit& commit) {
  Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kUploads, "commit"));
  ATOLL_RETURN_IF_ERROR(RequireMember("commit", s.u2, commit.id, "U2"));
  const uint64_t expected = kernels::VectorLayout(s.manifest->segments).packed_bytes();
  if (commit.bytes != expected) {
    return absl::InvalidArgumentError(absl::StrCat("commit: ", Name(commit.id), ": ", commit.bytes,
                                                   " bytes, the manifest's vector "
                                                   "has ",
                                                   expected));
  }
  ATOLL_RETURN_IF_ERROR(s.Verify(
      commit.id, kCommitLabel, CommitBody(s.context, commit.bytes, commit.root), commit.signature));
  return Keep(s.commits, commit.id, commit, "commit");
}

absl::Status CoordinatorSlot::AddUploaded(SiteId id) {
  Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kUploads, "upload"));
  if (!s.commits.contains(id)) {
    return absl::FailedPreconditionError(
        absl::StrCat("upload: ", Name(id), " has not committed to a vector"));
  }
  s.uploaded.insert(id);
  return absl::OkStatus();
}

absl::StatusOr<SurvivorSet> CoordinatorSlot::CloseUploads(uint32_t cohort_min) {
  Impl& s = *impl_;
  if (s.phase > Impl::Phase::kUploads) return s.survivors;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kUploads, "U3"));
  ATOLL_RETURN_IF_ERROR(s.Enough("U3", s.uploaded.size(), cohort_min));
  for (SiteId id : s.uploaded) {
    s.survivors.members.push_back(s.commits.at(id));
    s.u3.push_back(id);
  }
  s.phase = Impl::Phase::kSurvivors;
  return s.survivors;
}

absl::Status CoordinatorSlot::AddSurvivorSignature(const SurvivorSignature& signature) {
  Impl& s = *impl_;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kSurvivors, "survivors"));
  ATOLL_RETURN_IF_ERROR(RequireMember("survivors", s.u3, signature.id, "U3"));
  ATOLL_RETURN_IF_ERROR(
      s.Verify(signature.id, kSurvivorsLabel, SurvivorsBody(s.context, s.u3), signature.signature));
  return Keep(s.signatures, signature.id, signature, "survivors");
}

absl::StatusOr<UnmaskRequest> CoordinatorSlot::CloseSurvivors() {
  Impl& s = *impl_;
  if (s.phase > Impl::Phase::kSurvivors) return s.request;
  ATOLL_RETURN_IF_ERROR(s.Require(Impl::Phase::kSurvivors, "survivors"));
  ATOLL_RETURN_IF_ERROR(s.Enough("signatures of U3", s.signatures.size(), 0));
  for (const auto& [id, signature] : s.signatures) s.request.signatures.push_back(signature);
  s.phase = Impl::Phase::kUnmask;
  return s.request;
}

}  // namespace atl::secagg
