// The end of a slot: what its result is checked against; then nothing secret stays, in memory or in
// the journal.
#include "federation/secagg/site_impl.h"

namespace atl::secagg {
namespace {

SiteRecord Emptied(const SiteRecord& record, SlotState state) {
  SiteRecord empty;
  empty.state = state;
  empty.session = record.session;
  empty.id = record.id;
  return empty;
}

}  // namespace

absl::StatusOr<SlotFacts> SiteSlot::Facts() const {
  ATOLL_RETURN_IF_ERROR(impl_->Require(SlotState::kContext, "result"));
  const SiteRecord& now = impl_->record;
  return SlotFacts{
      .session = now.session,
      .u0 = now.u0,
      .threshold = now.threshold,
      .cohort_min = EffectiveCohortMin(impl_->floors()),
      .sites_max = now.scope.total > 0 ? now.scope.total : static_cast<uint32_t>(now.cohort.size()),
      .manifest = *now.manifest,
      .cohort = now.cohort,
      .commit = now.commit,
      .survivors = now.survivors};
}

absl::Status SiteSlot::Erase() {
  const SiteRecord& now = impl_->record;
  if (now.state == SlotState::kErased || now.state == SlotState::kBurnt) return absl::OkStatus();
  return impl_->Advance(Emptied(now, SlotState::kErased));
}

absl::Status SiteSlot::Burn() {
  const SiteRecord& now = impl_->record;
  if (now.state == SlotState::kErased || now.state == SlotState::kBurnt) return absl::OkStatus();
  return impl_->Advance(Emptied(now, SlotState::kBurnt));
}

}  // namespace atl::secagg
