// Private to the library: what SiteSlot's steps share.
#pragma once

#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/site_record.h"

namespace atl::secagg {

struct SiteSlot::Impl {
  const SiteIdentity* identity = nullptr;
  SlotJournal* journal = nullptr;
  SiteRecord record;
  bool saved = false;  // the record is in the journal

  const CryptoSuite& suite() const { return *identity->suite; }
  const SiteFloors& floors() const { return identity->floors; }

  // FAILED_PRECONDITION unless the slot still lives and has come at least to `least`.
  absl::Status Require(SlotState least, std::string_view step) const;
  // FAILED_PRECONDITION "step: already ...", for a question that differs from the one that was
  // answered.
  absl::Status Differs(std::string_view step) const;
  // Makes `next` durable, then current.
  absl::Status Advance(SiteRecord next);

  Signature Sign(std::string_view label, ByteView body) const;
  absl::Status Verify(SiteId id, std::string_view label, ByteView body,
                      const Signature& signature) const;

  // INVALID_ARGUMENT or PERMISSION_DENIED unless this set of pre-keys may be dealt to.
  absl::Status CheckPreKeySet(const PreKeySet& u0) const;
  absl::Status CheckManifest(const Manifest& manifest, const ManifestExpectation& expected) const;
  // |set| >= max(t, m), i in the set, the set in `super`.
  absl::Status CheckSet(std::string_view what, const std::vector<SiteId>& set,
                        std::string_view super_name, const std::vector<SiteId>& super) const;
  Digest context() const { return ContextOf(HashOf(*record.manifest), record.cohort); }
  // Of this manifest with this U2.
  absl::StatusOr<std::vector<MaskStream>> Streams(const Manifest& of,
                                                  const std::vector<SiteId>& cohort) const;
};

const char* NameOf(SlotState state);
// INVALID_ARGUMENT unless the identity is whole, in its roster, and the session is of that roster.
absl::Status CheckSlotIdentity(const SiteIdentity& identity, const Session& session);
// m: never under 3, or under 2 where the site's file allows a small cohort by name.
uint32_t EffectiveCohortMin(const SiteFloors& floors);
// What holds of any manifest, masked or not.
absl::Status CheckManifestBasics(const SiteFloors& floors, SiteId self, const Manifest& manifest,
                                 const ManifestExpectation& expected, uint32_t sites);

}  // namespace atl::secagg
