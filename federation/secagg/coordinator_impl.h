// Private to the library: what CoordinatorSlot's steps share.
#pragma once

#include "comms/base/status.h"
#include "federation/secagg/coordinator_slot.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::secagg {

struct CoordinatorSlot::Impl {
  enum class Phase : uint8_t {
    kPreKeys,
    kShares,
    kManifest,
    kReady,
    kUploads,
    kSurvivors,
    kUnmask
  };

  Session session;
  const Roster* roster = nullptr;
  const CryptoSuite* suite = nullptr;
  bool two_of_three = false;
  SlotScope scope;
  Phase phase = Phase::kPreKeys;

  std::map<SiteId, PreKeyRecord> records;
  PreKeySet pre_keys;
  Digest pre_keys_hash{};
  uint32_t threshold = 0;
  std::map<SiteId, ShareBundle> bundles;
  std::map<SiteId, ShareReceipt> receipts;
  std::optional<Manifest> manifest;
  Digest manifest_hash{};
  std::map<SiteId, Ready> readies;
  CohortSet cohort;
  Digest context{};
  std::map<SiteId, Commit> commits;
  std::set<SiteId> uploaded;
  SurvivorSet survivors;
  std::map<SiteId, SurvivorSignature> signatures;
  UnmaskRequest request;
  std::map<SiteId, UnmaskAnswer> answers;
  std::vector<SiteId> u0, u1, u2, u3;

  // FAILED_PRECONDITION "step: ..." unless the slot is in `wanted`.
  absl::Status Require(Phase wanted, std::string_view step) const;
  absl::Status Verify(SiteId id, std::string_view label, ByteView body,
                      const Signature& signature) const;
  // ABORTED unless `count` sites are enough to go on with.
  absl::Status Enough(std::string_view what, size_t count, uint32_t cohort_min) const;
};

// Puts a message where its sender's first one goes: OK when it is the first or the same again,
// ALREADY_EXISTS else.
template <typename M>
absl::Status Keep(std::map<SiteId, M>& kept, SiteId id, const M& message, std::string_view what) {
  const auto [at, fresh] = kept.emplace(id, message);
  if (fresh || Encode(at->second) == Encode(message)) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat(std::string(what), ": ", Name(id), " sent a different one before"));
}

// INVALID_ARGUMENT "what: site 3 is not in U1" unless it is.
absl::Status RequireMember(std::string_view what, const std::vector<SiteId>& set, SiteId id,
                           std::string_view set_name);

}  // namespace atl::secagg
