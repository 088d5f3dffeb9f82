// U2: the context and its masks; R2: the commitment to the masked vector.
#include <utility>

#include "federation/secagg/mask_keys.h"
#include "federation/secagg/site_impl.h"
#include "kernels/vector_layout.h"

namespace atl::secagg {

absl::StatusOr<std::vector<MaskStream>> SiteSlot::Impl::Streams(
    const Manifest& of, const std::vector<SiteId>& cohort) const {
  const Digest ctx = ContextOf(HashOf(of), cohort);
  const std::vector<SiteId> u0 = IdsOf(record.u0);
  const PairEnd self{record.id, record.pre_keys.mask_key};
  struct Peer {
    PairEnd end;
    Secret32 agreed;
  };
  std::vector<Peer> peers;
  for (SiteId id : cohort) {
    if (id == record.id) continue;
    const PublicKey& key = record.u0.records[RankOf(u0, id)].mask_key;
    auto agreed = suite().Agree(*record.mask_secret, key);
    if (!agreed.ok()) {
      return Annotate(agreed.status(), absl::StrCat("U2: mask_pk of ", Name(id)));
    }
    peers.push_back({{id, key}, *std::move(agreed)});
  }
  std::vector<MaskStream> streams;
  streams.reserve(of.segments.size() * cohort.size());
  for (uint32_t s = 0; s < of.segments.size(); ++s) {
    const uint32_t lane_bits = 8 * of.segments[s].lane_bytes();
    streams.push_back({s, false, SelfStreamKey(suite(), *record.b, ctx, record.id, s, lane_bits)});
    for (const Peer& peer : peers) {
      streams.push_back({s, /*subtract=*/peer.end.id < record.id,
                         PairStreamKey(suite(), peer.agreed, ctx, self, peer.end, s, lane_bits)});
    }
  }
  return streams;
}

absl::StatusOr<ContextStreams> SiteSlot::ExpectedStreams(
    const Manifest& manifest, const ManifestExpectation& expected) const {
  ATOLL_RETURN_IF_ERROR(impl_->CheckManifest(manifest, expected));
  const SiteRecord& now = impl_->record;
  if (now.state >= SlotState::kCommitted) {
    return absl::FailedPreconditionError(absl::StrCat("masks ahead: slot ", slot().value(), " is ",
                                                      NameOf(now.state),
                                                      ": no masks are given again"));
  }
  const std::vector<SiteId>& cohort =
      now.state == SlotState::kContext ? now.cohort : manifest.members;
  ATOLL_ASSIGN_OR_RETURN(std::vector<MaskStream> streams, impl_->Streams(manifest, cohort));
  return ContextStreams{ContextOf(HashOf(manifest), cohort), std::move(streams)};
}

absl::StatusOr<std::vector<MaskStream>> SiteSlot::EnterContext(const CohortSet& u2) {
  ATOLL_RETURN_IF_ERROR(impl_->Require(SlotState::kReady, "U2"));
  const SiteRecord& now = impl_->record;
  const std::vector<SiteId> cohort = IdsOf(u2);
  if (now.state >= SlotState::kContext && cohort != now.cohort) return impl_->Differs("U2");
  if (now.state >= SlotState::kCommitted) {
    return absl::FailedPreconditionError(
        "U2: the vector is committed to, so no masks are given again: upload the stored one");
  }
  ATOLL_RETURN_IF_ERROR(impl_->CheckSet("U2", cohort, "U1", now.manifest->members));
  const Bytes body = ReadyBody(HashOf(*now.manifest));
  for (const Ready& member : u2.members) {
    ATOLL_RETURN_IF_ERROR(impl_->Verify(member.id, kReadyLabel, body, member.signature));
  }
  if (now.state < SlotState::kContext) {
    SiteRecord next = now;
    next.cohort = cohort;
    next.state = SlotState::kContext;
    ATOLL_RETURN_IF_ERROR(impl_->Advance(std::move(next)));
  }
  return impl_->Streams(*impl_->record.manifest, impl_->record.cohort);
}

absl::StatusOr<Commit> SiteSlot::SignCommit(uint64_t bytes, const Digest& root) {
  ATOLL_RETURN_IF_ERROR(impl_->Require(SlotState::kContext, "commit"));
  const SiteRecord& now = impl_->record;
  if (now.commit) {
    if (now.commit->bytes != bytes || now.commit->root != root) return impl_->Differs("commit");
    return *now.commit;
  }
  const uint64_t expected = kernels::VectorLayout(now.manifest->segments).packed_bytes();
  if (bytes != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("commit: a vector of ", bytes, " bytes: the manifest's has ", expected));
  }
  SiteRecord next = now;
  next.commit = Commit{now.id, bytes, root,
                       impl_->Sign(kCommitLabel, CommitBody(impl_->context(), bytes, root))};
  next.mask_secret.reset();  // nothing is masked again
  next.b.reset();
  next.state = SlotState::kCommitted;
  ATOLL_RETURN_IF_ERROR(impl_->Advance(std::move(next)));
  return *impl_->record.commit;
}

}  // namespace atl::secagg
