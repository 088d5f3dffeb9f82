// Private to the library: all that a site's slot knows, and its form in the journal.
#pragma once

#include <optional>
#include <vector>

#include "federation/secagg/site_slot.h"

namespace atl::secagg {

// A dealer's two shares for this site.
struct HeldShares {
  Secret32 mask_key, b;
};

// Plain data; each step works on a copy, saves it and puts it in the slot's place, so that a step
// that fails changes nothing. A member is set from the step that makes it, and gone again from the
// step after which it is not needed.
struct SiteRecord {
  SlotState state = SlotState::kFresh;
  Session session;
  SlotScope scope;
  SiteId id;

  // E1, E2. Secrets go as soon as they can: enc_secret when the shares are opened, mask_secret and
  // b with the commit.
  std::optional<Secret32> enc_secret, mask_secret, b;
  PreKeyRecord pre_keys;
  PreKeySet u0;
  uint32_t threshold = 0;
  std::optional<ShareBundle> bundle;
  std::vector<std::optional<HeldShares>> held;  // by rank in U0; empty again once answered
  std::optional<Digest> delivery;               // SHA-256 of the delivery that was opened
  std::optional<ShareReceipt> receipt;

  // R0 to R4.
  std::optional<Manifest> manifest;
  std::optional<Ready> ready;
  std::vector<SiteId> cohort;  // U2
  std::optional<Commit> commit;
  std::vector<SiteId> survivors;  // U3
  std::optional<SurvivorSignature> signature;
  std::optional<UnmaskAnswer> answer;
};

// Holds secrets: wipe it. Ends with the SHA-256 of what is before.
Bytes EncodeRecord(const SiteRecord& record);
// DATA_LOSS for bytes that are not a record, or one in which a state lacks what it stands on.
absl::StatusOr<SiteRecord> DecodeRecord(ByteView bytes);

}  // namespace atl::secagg
