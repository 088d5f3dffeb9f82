// R3: one set of survivors a slot; R4: for each member of U2 one of its two shares, once.
#include "federation/secagg/site_impl.h"
#include "kernels/vector_layout.h"

namespace atl::secagg {

absl::StatusOr<SurvivorSignature> SiteSlot::SignSurvivors(const SurvivorSet& u3) {
  ATOLL_RETURN_IF_ERROR(impl_->Require(SlotState::kCommitted, "U3"));
  const SiteRecord& now = impl_->record;
  const std::vector<SiteId> survivors = IdsOf(u3);
  if (now.signature && survivors != now.survivors) return impl_->Differs("U3");
  ATOLL_RETURN_IF_ERROR(impl_->CheckSet("U3", survivors, "U2", now.cohort));
  const Digest ctx = impl_->context();
  for (const Commit& member : u3.members) {
    if (member.bytes != now.commit->bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("U3: ", Name(member.id), " committed to ", member.bytes,
                       " bytes: the manifest's vector has ", now.commit->bytes));
    }
    if (member.id == now.id && member.root != now.commit->root) {
      return absl::InvalidArgumentError("U3: this site's commit is not the one it signed");
    }
    ATOLL_RETURN_IF_ERROR(impl_->Verify(
        member.id, kCommitLabel, CommitBody(ctx, member.bytes, member.root), member.signature));
  }
  // Also on a repeat: a crash may have kept this signature out of the ledger, and another slot have
  // signed since. Its own cohort in the ledger is at distance 0.
  const CohortRule& rule = impl_->floors().cohorts;
  const Digest& model = now.manifest->model;
  ATOLL_ASSIGN_OR_RETURN(
      const std::vector<SignedCohort> earlier,
      impl_->journal->SignedCohorts(rule.distance_min > 0 ? std::nullopt : std::optional(model)));
  ATOLL_RETURN_IF_ERROR(CheckCohort(earlier, model, survivors, rule));
  if (!now.signature) {
    SiteRecord next = now;
    next.survivors = survivors;
    next.signature =
        SurvivorSignature{now.id, impl_->Sign(kSurvivorsLabel, SurvivorsBody(ctx, survivors))};
    next.state = SlotState::kSigned;
    ATOLL_RETURN_IF_ERROR(impl_->Advance(std::move(next)));
  }
  // Also of a signature that a crash kept from being told: it is in the ledger before it leaves.
  const SiteRecord& record = impl_->record;
  ATOLL_RETURN_IF_ERROR(
      impl_->journal->KeepCohort({record.manifest->model, record.survivors, record.session.slot,
                                  record.signature->signature}));
  return *record.signature;
}

absl::StatusOr<UnmaskAnswer> SiteSlot::Unmask(const UnmaskRequest& request) {
  ATOLL_RETURN_IF_ERROR(impl_->Require(SlotState::kSigned, "unmask"));
  const SiteRecord& now = impl_->record;
  const Digest ctx = impl_->context();
  const Bytes body = SurvivorsBody(ctx, now.survivors);
  SiteId last;
  for (const SurvivorSignature& signature : request.signatures) {
    if (signature.id <= last) {
      return absl::InvalidArgumentError(
          absl::StrCat("unmask: ", Name(signature.id), " signs twice or out of order"));
    }
    last = signature.id;
    if (!Contains(now.survivors, signature.id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("unmask: the signer ", Name(signature.id), " is not in U3"));
    }
    ATOLL_RETURN_IF_ERROR(impl_->Verify(signature.id, kSurvivorsLabel, body, signature.signature));
  }
  if (request.signatures.size() < now.threshold) {
    return absl::InvalidArgumentError(absl::StrCat("unmask: ", request.signatures.size(),
                                                   " signatures: must be >= t = ", now.threshold));
  }
  if (now.answer) return *now.answer;

  SiteRecord next = now;
  UnmaskAnswer answer;
  answer.id = now.id;
  const std::vector<SiteId> u0 = IdsOf(now.u0);
  for (SiteId owner : now.cohort) {
    const auto& held = now.held[RankOf(u0, owner)];
    if (!held) {
      return absl::InternalError(absl::StrCat("unmask: no shares of ", Name(owner)));
    }
    const bool alive = Contains(now.survivors, owner);
    answer.items.push_back(
        {owner, alive ? ShareKind::kSelf : ShareKind::kMaskKey, alive ? held->b : held->mask_key});
  }
  Bytes answer_body = UnmaskBody(ctx, answer.items);
  answer.signature = impl_->Sign(kUnmaskLabel, answer_body);
  Wipe(answer_body);
  next.answer = std::move(answer);
  next.held.clear();  // the other share of each is never given
  next.state = SlotState::kAnswered;
  ATOLL_RETURN_IF_ERROR(impl_->Advance(std::move(next)));
  return *impl_->record.answer;
}

}  // namespace atl::secagg
