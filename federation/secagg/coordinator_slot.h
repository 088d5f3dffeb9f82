// The coordinator's side of one slot: collects and checks each step's messages, says what the sets
// are, and in the end which key streams to take off the sum. It cannot read a site's vector. No
// I/O, no clock; deterministic, so that replaying the same messages gives the same state. A message
// that does not verify is refused and changes nothing.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "federation/secagg/messages.h"
#include "federation/secagg/roster.h"
#include "federation/secagg/site_slot.h"

namespace atl::secagg {

class CoordinatorSlot {
 public:
  // `roster` and `suite` outlive the slot. `two_of_three`: t = 2 for n0 = 3, which every site's own
  // file must allow.
  CoordinatorSlot(const Session& session, const Roster& roster, const CryptoSuite& suite,
                  bool two_of_three = false, SlotScope scope = {});
  CoordinatorSlot(CoordinatorSlot&&) noexcept;
  CoordinatorSlot& operator=(CoordinatorSlot&&) noexcept;
  ~CoordinatorSlot();

  // E1. ALREADY_EXISTS for a second, different record; the same one again is OK.
  absl::Status AddPreKeys(const PreKeyRecord& record);
  // Closes U0 with those who answered. FAILED_PRECONDITION under `cohort_min`, under a group's t,
  // or where so many do not withstand the scope's corrupt_max.
  absl::StatusOr<PreKeySet> ClosePreKeys(uint32_t cohort_min);
  // E2. FAILED_PRECONDITION once a receipt is in.
  absl::Status AddShares(const ShareBundle& bundle);
  // What to send to `holder`, once those who will have dealt have dealt. Dealers that did not are
  // left out. A holder answers one delivery only, so keep to it: let no bundle in after the first
  // delivery.
  absl::StatusOr<ShareDelivery> DeliveryFor(SiteId holder) const;
  absl::Status AddReceipt(const ShareReceipt& receipt);
  // U1: members of U0 that dealt, sent a receipt, and whom no member of U1 complains about. Removed
  // one by one is who stands in the most complaints, as accuser or accused (else one liar could
  // remove all others); of equals the accused. ABORTED when |U1| < max(t, cohort_min).
  absl::StatusOr<std::vector<SiteId>> CloseShares(uint32_t cohort_min);

  // R0: completes `draft` (slot, H(U0), U1, t) into the manifest to send.
  absl::StatusOr<Manifest> OpenRound(Manifest draft);
  absl::Status AddReady(const Ready& ready);  // R1
  absl::StatusOr<CohortSet> CloseReady(
      uint32_t cohort_min);                      // U2; ABORTED under max(t, cohort_min)
  absl::Status AddCommit(const Commit& commit);  // R2
  // The vector that `id` committed to has arrived whole and its root was checked.
  absl::Status AddUploaded(SiteId id);
  absl::StatusOr<SurvivorSet> CloseUploads(
      uint32_t cohort_min);  // U3; ABORTED under max(t, cohort_min)
  absl::Status AddSurvivorSignature(const SurvivorSignature& signature);  // R3
  absl::StatusOr<UnmaskRequest> CloseSurvivors();  // ABORTED under t signatures
  // R4. Shares are checked against the dealers' hashes; a wrong one is INVALID_ARGUMENT and names
  // the holder.
  absl::Status AddAnswer(const UnmaskAnswer& answer);
  bool CanUnmask() const;  // t answers are there
  // The secrets of U2 that the answers come to, each checked against its b_commit or mask_pk.
  // ABORTED naming the dealer when one does not match.
  absl::StatusOr<std::vector<RevealedSecret>> RevealSecrets() const;
  // The streams to add to the sum of y_i to be left with the sum of x_i: self masks of U3, pair
  // masks of U2 without U3.
  absl::StatusOr<std::vector<MaskStream>> StreamsToRemove(
      const std::vector<RevealedSecret>& secrets) const;
  absl::StatusOr<std::vector<MaskStream>> StreamsToRemove() const;  // errors as RevealSecrets

  // The sets so far, sorted; empty before they are closed.
  const std::vector<SiteId>& u0() const;
  const std::vector<SiteId>& u1() const;
  const std::vector<SiteId>& u2() const;
  const std::vector<SiteId>& u3() const;
  // Who has answered the step that is open now, so that the caller knows whom it still waits for.
  // Within E2: the dealers until a receipt is in, then the holders; within R2: whose vectors are
  // whole.
  std::set<SiteId> answered() const;
  enum class Step : uint8_t {
    kPreKeys,
    kShares,
    kReceipts,
    kReady,
    kCommits,
    kUploads,
    kSurvivors,
    kAnswers
  };
  // Who has answered that step, open or closed.
  std::set<SiteId> answered(Step step) const;
  uint32_t threshold() const;  // t of U0; of a group from the beginning, else once U0 is closed
  const std::optional<Manifest>& manifest() const;
  const Commit* commit_of(SiteId id) const;  // null before R2
  const SurvivorSet& survivors() const;      // U3 with its commits
  const UnmaskRequest& request() const;      // the signatures of U3

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace atl::secagg
