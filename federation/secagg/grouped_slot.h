// The coordinator's side of one slot of a run, whether or not it is split into groups: one
// CoordinatorSlot a group, which know nothing of each other.
//
// Where a run is not split there is one group of all, and everything is as CoordinatorSlot has it.
// In a split run each group has its own U0 to U3, signatures and sum. A group that cannot go on
// (fewer than its t are left) is out, for good: its vectors are in no sum, the others go on without
// it as long as they are cohort_min together. That is sound at any step, since nothing of one
// group's keys, shares or signatures is good for another, and what the others reveal is their own
// sum, with t - c honest sites in it, whoever else is there.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "federation/secagg/coordinator_slot.h"
#include "federation/secagg/group_split.h"

namespace atl::secagg {

class GroupedSlot {
 public:
  // What differs by group, by the group's index (from 0), of those that are not out.
  template <typename M>
  using PerGroup = std::map<uint32_t, M>;

  // Of a run that is not split. `roster` and `suite` outlive the slot, here and below.
  GroupedSlot(const Session& session, const Roster& roster, const CryptoSuite& suite,
              uint32_t corrupt_max = 0);
  // Of a split one; group index i has number i + 1.
  GroupedSlot(const Session& session, const Roster& roster, const CryptoSuite& suite,
              const Groups& groups, const GroupTerms& terms);

  bool is_split() const { return split_; }
  uint32_t group_count() const { return static_cast<uint32_t>(groups_.size()); }
  // The site's group; nothing for one that is in none.
  std::optional<uint32_t> GroupOf(SiteId site) const;
  bool IsOut(uint32_t group) const { return groups_[group].out; }
  // The group's sites take no part in this slot any more.
  void Retire(uint32_t group) { groups_[group].out = true; }
  const CoordinatorSlot& group(uint32_t index) const { return groups_[index].slot; }

  // As CoordinatorSlot's, of the sender's group; INVALID_ARGUMENT for a sender in no group.
  absl::Status AddPreKeys(const PreKeyRecord& record);
  absl::Status AddShares(const ShareBundle& bundle);
  absl::StatusOr<ShareDelivery> DeliveryFor(SiteId holder) const;
  absl::Status AddReceipt(const ShareReceipt& receipt);
  absl::Status AddReady(const Ready& ready);
  absl::Status AddCommit(const Commit& commit);
  absl::Status AddUploaded(SiteId id);
  absl::Status AddSurvivorSignature(const SurvivorSignature& signature);
  absl::Status AddAnswer(const UnmaskAnswer& answer);
  const Commit* commit_of(SiteId id) const;

  // As CoordinatorSlot's. In a split run a group that fails is out, and only when the others are
  // under cohort_min together it is ABORTED.
  absl::StatusOr<PerGroup<PreKeySet>> ClosePreKeys(uint32_t cohort_min);
  absl::Status CloseShares(uint32_t cohort_min);
  absl::StatusOr<PerGroup<Manifest>> OpenRound(const Manifest& draft);
  absl::StatusOr<PerGroup<CohortSet>> CloseReady(uint32_t cohort_min);
  absl::StatusOr<PerGroup<SurvivorSet>> CloseUploads(uint32_t cohort_min);
  absl::StatusOr<PerGroup<UnmaskRequest>> CloseSurvivors(uint32_t cohort_min);

  // The sets of all groups that are not out, together, sorted.
  std::vector<SiteId> u0() const { return Union(&CoordinatorSlot::u0); }
  std::vector<SiteId> u1() const { return Union(&CoordinatorSlot::u1); }
  std::vector<SiteId> u2() const { return Union(&CoordinatorSlot::u2); }
  std::vector<SiteId> u3() const { return Union(&CoordinatorSlot::u3); }
  // How many of U1 are among `live`, in groups where t or more of them are.
  uint32_t Usable(const std::set<SiteId>& live) const;
  // The smallest t of the groups that are not out; 0 when there is none.
  uint32_t threshold() const;
  // Whose vectors a sum must hold: all that were split, or U0.
  uint32_t sites() const;
  uint32_t groups_left() const;

 private:
  struct Group {
    CoordinatorSlot slot;
    bool out = false;
  };
  using SetOf = const std::vector<SiteId>& (CoordinatorSlot::*)() const;

  absl::StatusOr<CoordinatorSlot*> SlotOf(SiteId site);
  std::vector<SiteId> Union(SetOf set) const;
  template <typename M, typename Close>
  absl::StatusOr<PerGroup<M>> CloseEach(uint32_t cohort_min, SetOf set, Close close);

  bool split_ = false;
  uint32_t total_ = 0;
  std::vector<Group> groups_;
  std::map<SiteId, uint32_t> group_of_;  // empty unless split
};

}  // namespace atl::secagg
