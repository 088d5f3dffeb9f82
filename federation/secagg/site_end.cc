// The end of a slot: nothing secret stays, in memory or in the journal.
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
