// A slot's beginning and end; what its steps share.
#include "federation/secagg/site_slot.h"

#include <algorithm>

#include "federation/secagg/signing.h"
#include "federation/secagg/site_impl.h"

namespace atl::secagg {

absl::Status CheckSlotIdentity(const SiteIdentity& identity, const Session& session) {
  if (identity.suite == nullptr || identity.random == nullptr) {
    return absl::InvalidArgumentError("slot: the identity lacks a crypto suite or random source");
  }
  const RosterEntry* entry = identity.roster.Find(identity.id);
  if (entry == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("slot: ", Name(identity.id), " (this site) is not in its roster"));
  }
  if (entry->identity != identity.suite->SigningKeyPair(identity.seed).public_key) {
    return absl::InvalidArgumentError(
        absl::StrCat("slot: the roster's identity of ", Name(identity.id), " is not this key's"));
  }
  if (session.roster != identity.roster.digest()) {
    return absl::InvalidArgumentError(absl::StrCat("slot: of roster ", Hex(session.roster),
                                                   ", pinned is ", Hex(identity.roster.digest())));
  }
  if (session.slot.value() == 0) return absl::InvalidArgumentError("slot: id 0: ids are from 1");
  return absl::OkStatus();
}

const char* NameOf(SlotState state) {
  switch (state) {
    case SlotState::kFresh:
      return "fresh";
    case SlotState::kShared:
      return "shared";
    case SlotState::kReady:
      return "ready";
    case SlotState::kContext:
      return "context";
    case SlotState::kCommitted:
      return "committed";
    case SlotState::kSigned:
      return "signed";
    case SlotState::kAnswered:
      return "answered";
    case SlotState::kErased:
      return "erased";
    case SlotState::kBurnt:
      return "burnt";
  }
  return "unknown";
}

uint32_t EffectiveCohortMin(const SiteFloors& floors) {
  const uint32_t least = floors.allow_two_of_three || floors.allow_two_sites ? 2 : 3;
  return std::max(floors.cohort_min, least);
}

absl::Status SiteSlot::Impl::Require(SlotState least, std::string_view step) const {
  const bool over = record.state == SlotState::kErased || record.state == SlotState::kBurnt;
  if (!over && record.state >= least) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      std::string(step), ": slot ", record.session.slot.value(), " is ", NameOf(record.state),
      over ? "" : ", must be at least ", over ? "" : NameOf(least)));
}

absl::Status SiteSlot::Impl::Differs(std::string_view step) const {
  return absl::FailedPreconditionError(
      absl::StrCat(std::string(step), ": slot ", record.session.slot.value(),
                   " has answered another one; each step is taken once"));
}

absl::Status SiteSlot::Impl::Advance(SiteRecord next) {
  Bytes bytes = EncodeRecord(next);
  const absl::Status written = journal->Save(next.session.slot, next.state, bytes);
  Wipe(bytes);
  if (!written.ok()) {
    return Annotate(written, absl::StrCat("slot ", next.session.slot.value(),
                                          ": cannot save state ", NameOf(next.state)));
  }
  record = std::move(next);
  saved = true;
  return absl::OkStatus();
}

Signature SiteSlot::Impl::Sign(std::string_view label, ByteView body) const {
  return SignBody(suite(), identity->seed, record.session, label, body);
}

absl::Status SiteSlot::Impl::Verify(SiteId id, std::string_view label, ByteView body,
                                    const Signature& signature) const {
  return VerifySite(suite(), identity->roster, record.session, id, label, body, signature);
}

absl::StatusOr<SiteSlot> SiteSlot::Restore(const SiteIdentity& identity, ByteView bytes,
                                           SlotJournal& journal) {
  ATOLL_ASSIGN_OR_RETURN(SiteRecord record, DecodeRecord(bytes));
  ATOLL_RETURN_IF_ERROR(CheckSlotIdentity(identity, record.session));
  if (record.id != identity.id) {
    return absl::DataLossError(
        absl::StrCat("slot record: of ", Name(record.id), ", this is ", Name(identity.id)));
  }
  auto impl = std::make_unique<Impl>();
  impl->identity = &identity;
  impl->journal = &journal;
  impl->record = std::move(record);
  impl->saved = true;
  return SiteSlot(std::move(impl));
}

SiteSlot::SiteSlot(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SiteSlot::SiteSlot(SiteSlot&&) noexcept = default;
SiteSlot& SiteSlot::operator=(SiteSlot&&) noexcept = default;
SiteSlot::~SiteSlot() = default;

SlotState SiteSlot::state() const { return impl_->record.state; }
SlotId SiteSlot::slot() const { return impl_->record.session.slot; }

}  // namespace atl::secagg
