// A site's side of one slot: one attempt at one round under secure aggregation.
//
//   fresh -> shared -> ready(H(manifest)) -> context(ctx) -> committed(root) -> signed(U3) ->
//   answered -> erased and to burnt from anywhere.
//
// No I/O: the state is handed to a SlotJournal, which makes it durable, before anything that
// depends on it is returned to be sent. A repeated question gets the same bytes again; a different
// one FAILED_PRECONDITION. Any refusal of what a peer said is INVALID_ARGUMENT, UNAUTHENTICATED (a
// signature) or PERMISSION_DENIED (the site's own floors), and sends nothing secret.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "federation/secagg/cohort_ledger.h"
#include "federation/secagg/messages.h"
#include "federation/secagg/roster.h"
#include "federation/secagg/slot_scope.h"

namespace atl::secagg {

// What a site's own file demands, whatever the coordinator says.
struct SiteFloors {
  uint32_t cohort_min =
      3;  // m, members of U2 and U3; under 3 only with one of the next two, never under 2
  bool allow_two_of_three = false;  // t = 2 for n0 = 3
  bool allow_two_sites = false;     // n0 = 2 (with cohort_min 2)
  bool allow_plain = false;         // rounds without secure aggregation
  uint64_t weight_max = 1'000'000'000;
  double clip_norm_l2_max = 1e6;
  uint32_t corrupt_sites_max = 0;  // c that a run must state at least
  CohortRule cohorts;
};

enum class SlotState : uint8_t {
  kFresh = 1,
  kShared,
  kReady,
  kContext,
  kCommitted,
  kSigned,
  kAnswered,
  kErased,
  kBurnt
};

// Makes a slot's state durable, and the cohorts that were signed. What is written is on disk when
// the call returns.
class SlotJournal {
 public:
  virtual ~SlotJournal() = default;
  // The bytes hold secrets.
  virtual absl::Status Save(SlotId slot, SlotState state, ByteView record) = 0;
  // The cohorts signed over the data that the slots' run trains on, in this run and all earlier
  // ones; with `model` only those over updates of that model.
  virtual absl::StatusOr<std::vector<SignedCohort>> SignedCohorts(
      const std::optional<Digest>& model) = 0;
  // OK also for one that is there.
  virtual absl::Status KeepCohort(const SignedCohort& cohort) = 0;
};

// Who this site is; shared by all its slots. Outlives them.
struct SiteIdentity {
  SiteId id;
  Secret32 seed;  // Ed25519
  Roster roster;
  SiteFloors floors;
  const CryptoSuite* suite = nullptr;
  SecretRandom* random = nullptr;
};

// One key stream to add to a segment's lanes.
struct MaskStream {
  uint32_t segment = 0;
  bool subtract = false;
  Secret32 key;
};

// The masks of one context, for one site.
struct ContextStreams {
  Digest context{};
  std::vector<MaskStream> streams;
};

// What a site knows of a slot and checks R5 against; nothing secret.
struct SlotFacts {
  Session session;
  PreKeySet u0;
  uint32_t threshold = 0;
  uint32_t cohort_min = 0;  // m
  uint32_t sites_max = 0;   // that can be in the sum, of all groups
  Manifest manifest;
  std::vector<SiteId> cohort;     // U2
  std::optional<Commit> commit;   // this site's
  std::vector<SiteId> survivors;  // U3 that it signed; empty: none
};

// What the site itself knows and the manifest must say.
struct ManifestExpectation {
  Digest model{};  // the last R5's next model, or the pinned first one
  Digest recipe{};
  RoundId round;
};

// R0 of a round without secure aggregation, which needs no slot. PERMISSION_DENIED unless the
// site's floors allow it.
absl::Status CheckPlainManifest(const SiteIdentity& identity, const RunId& run,
                                const Manifest& manifest, const ManifestExpectation& expected);

class SiteSlot {
 public:
  // A new slot with fresh keys (E1), for the sites of `scope`. Saves nothing yet.
  static absl::StatusOr<SiteSlot> Create(const SiteIdentity& identity, const Session& session,
                                         SlotJournal& journal, SlotScope scope = {});
  // From a journal's record, after a restart. DATA_LOSS for a record that does not parse.
  static absl::StatusOr<SiteSlot> Restore(const SiteIdentity& identity, ByteView record,
                                          SlotJournal& journal);
  SiteSlot(SiteSlot&&) noexcept;
  SiteSlot& operator=(SiteSlot&&) noexcept;
  ~SiteSlot();  // wipes

  absl::StatusOr<PreKeyRecord> PreKeys();                       // E1
  absl::StatusOr<ShareBundle> DealShares(const PreKeySet& u0);  // E2: fresh -> shared
  absl::StatusOr<ShareReceipt> TakeShares(
      const ShareDelivery& delivery);  // opens what others sent; erases enc_sk
  absl::Status CheckManifest(const Manifest& manifest,
                             const ManifestExpectation& expected) const;  // R0
  // The masks that y_i will have if all of U1 come to U2 (once U2 is known: that y_i will have), so
  // that they can be expanded while the site trains. Checks the manifest; FAILED_PRECONDITION from
  // SignCommit on. Safe, and without a state of its own: nothing of it leaves the site, and the
  // keys are of this one context. If U2 differs, so do ctx and every key, and what was expanded is
  // useless; and only the vector of one context is ever committed to in a slot.
  absl::StatusOr<ContextStreams> ExpectedStreams(const Manifest& manifest,
                                                 const ManifestExpectation& expected) const;
  absl::StatusOr<Ready> SignReady(const Manifest& manifest,
                                  const ManifestExpectation& expected);  // R1
  // U2: -> context. The streams to add to y_i, for every segment. The same again until SignCommit;
  // after it the keys are gone, and so FAILED_PRECONDITION: the committed vector is uploaded as it
  // is stored.
  absl::StatusOr<std::vector<MaskStream>> EnterContext(const CohortSet& u2);
  absl::StatusOr<Commit> SignCommit(uint64_t bytes, const Digest& root);  // R2
  // R3. PERMISSION_DENIED for a cohort that the ledger forbids.
  absl::StatusOr<SurvivorSignature> SignSurvivors(const SurvivorSet& u3);
  absl::StatusOr<UnmaskAnswer> Unmask(const UnmaskRequest& request);  // R4
  // R5 is checked against these (check_result.h). FAILED_PRECONDITION before U2 and after the end.
  absl::StatusOr<SlotFacts> Facts() const;
  absl::Status Erase();  // after R5
  absl::Status Burn();   // the attempt was aborted

  SlotState state() const;
  SlotId slot() const;

 private:
  struct Impl;
  explicit SiteSlot(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace atl::secagg
