#include "federation/secagg/grouped_slot.h"

#include <algorithm>

#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::secagg {

GroupedSlot::GroupedSlot(const Session& session, const Roster& roster, const CryptoSuite& suite,
                         uint32_t corrupt_max) {
  SlotScope scope;
  scope.corrupt_max = corrupt_max;
  groups_.push_back({CoordinatorSlot(session, roster, suite, false, std::move(scope))});
}

GroupedSlot::GroupedSlot(const Session& session, const Roster& roster, const CryptoSuite& suite,
                         const Groups& groups, const GroupTerms& terms)
    : split_(true) {
  for (uint32_t index = 0; index < groups.size(); ++index) {
    Session of_group = session;
    of_group.group = index + 1;
    groups_.push_back(
        {CoordinatorSlot(of_group, roster, suite, false, ScopeOf(groups, index + 1, terms))});
    for (SiteId site : groups[index]) group_of_[site] = index;
  }
  total_ = static_cast<uint32_t>(group_of_.size());
}

std::optional<uint32_t> GroupedSlot::GroupOf(SiteId site) const {
  if (!split_) return 0;
  const auto at = group_of_.find(site);
  if (at == group_of_.end()) return std::nullopt;
  return at->second;
}

absl::StatusOr<CoordinatorSlot*> GroupedSlot::SlotOf(SiteId site) {
  const auto group = GroupOf(site);
  if (group) return &groups_[*group].slot;
  return absl::InvalidArgumentError(absl::StrCat(Name(site), " is in none of the groups"));
}

std::vector<SiteId> GroupedSlot::Union(SetOf set) const {
  std::vector<SiteId> all;
  for (const Group& group : groups_) {
    if (group.out) continue;
    const std::vector<SiteId>& of_group = (group.slot.*set)();
    all.insert(all.end(), of_group.begin(), of_group.end());
  }
  if (split_) std::sort(all.begin(), all.end());
  return all;
}

absl::Status GroupedSlot::AddPreKeys(const PreKeyRecord& record) {
  ATOLL_ASSIGN_OR_RETURN(CoordinatorSlot * slot, SlotOf(record.id));
  return slot->AddPreKeys(record);
}
absl::Status GroupedSlot::AddShares(const ShareBundle& bundle) {
  ATOLL_ASSIGN_OR_RETURN(CoordinatorSlot * slot, SlotOf(bundle.dealer));
  return slot->AddShares(bundle);
}
absl::StatusOr<ShareDelivery> GroupedSlot::DeliveryFor(SiteId holder) const {
  if (const auto group = GroupOf(holder)) return groups_[*group].slot.DeliveryFor(holder);
  return absl::InvalidArgumentError(absl::StrCat(Name(holder), " is in none of the groups"));
}
absl::Status GroupedSlot::AddReceipt(const ShareReceipt& receipt) {
  ATOLL_ASSIGN_OR_RETURN(CoordinatorSlot * slot, SlotOf(receipt.holder));
  return slot->AddReceipt(receipt);
}
absl::Status GroupedSlot::AddReady(const Ready& ready) {
  ATOLL_ASSIGN_OR_RETURN(CoordinatorSlot * slot, SlotOf(ready.id));
  return slot->AddReady(ready);
}
absl::Status GroupedSlot::AddCommit(const Commit& commit) {
  ATOLL_ASSIGN_OR_RETURN(CoordinatorSlot * slot, SlotOf(commit.id));
  return slot->AddCommit(commit);
}
absl::Status GroupedSlot::AddUploaded(SiteId id) {
  ATOLL_ASSIGN_OR_RETURN(CoordinatorSlot * slot, SlotOf(id));
  return slot->AddUploaded(id);
}
absl::Status GroupedSlot::AddSurvivorSignature(const SurvivorSignature& signature) {
  ATOLL_ASSIGN_OR_RETURN(CoordinatorSlot * slot, SlotOf(signature.id));
  return slot->AddSurvivorSignature(signature);
}
absl::Status GroupedSlot::AddAnswer(const UnmaskAnswer& answer) {
  ATOLL_ASSIGN_OR_RETURN(CoordinatorSlot * slot, SlotOf(answer.id));
  return slot->AddAnswer(answer);
}

const Commit* GroupedSlot::commit_of(SiteId id) const {
  const auto group = GroupOf(id);
  return group ? groups_[*group].slot.commit_of(id) : nullptr;
}

template <typename M, typename Close>
absl::StatusOr<GroupedSlot::PerGroup<M>> GroupedSlot::CloseEach(uint32_t cohort_min, SetOf set,
                                                                Close close) {
  PerGroup<M> closed;
  std::string why;
  for (uint32_t index = 0; index < groups_.size(); ++index) {
    Group& group = groups_[index];
    if (group.out) continue;
    absl::StatusOr<M> message = close(group.slot, split_ ? 0 : cohort_min);
    if (message.ok()) {
      closed.emplace(index, *std::move(message));
    } else if (!split_) {
      return message.status();
    } else {
      group.out = true;
      why = absl::StrCat("group ", index + 1, ": ", std::string(message.status().message()));
    }
  }
  if (!split_) return closed;
  if (const size_t left = Union(set).size(); left < std::max<uint32_t>(cohort_min, 1)) {
    return absl::AbortedError(absl::StrCat(left, " sites are left in ", groups_left(), " of ",
                                           groups_.size(), " groups, ", cohort_min, " are needed",
                                           why.empty() ? "" : "; ", why));
  }
  return closed;
}

absl::StatusOr<GroupedSlot::PerGroup<PreKeySet>> GroupedSlot::ClosePreKeys(uint32_t cohort_min) {
  return CloseEach<PreKeySet>(
      cohort_min, &CoordinatorSlot::u0,
      [](CoordinatorSlot& slot, uint32_t least) { return slot.ClosePreKeys(least); });
}

absl::Status GroupedSlot::CloseShares(uint32_t cohort_min) {
  return CloseEach<std::vector<SiteId>>(
             cohort_min, &CoordinatorSlot::u1,
             [](CoordinatorSlot& slot, uint32_t least) { return slot.CloseShares(least); })
      .status();
}

absl::StatusOr<GroupedSlot::PerGroup<Manifest>> GroupedSlot::OpenRound(const Manifest& draft) {
  PerGroup<Manifest> manifests;
  for (uint32_t index = 0; index < groups_.size(); ++index) {
    if (groups_[index].out) continue;
    ATOLL_ASSIGN_OR_RETURN(manifests[index], groups_[index].slot.OpenRound(draft));
  }
  return manifests;
}

absl::StatusOr<GroupedSlot::PerGroup<CohortSet>> GroupedSlot::CloseReady(uint32_t cohort_min) {
  return CloseEach<CohortSet>(
      cohort_min, &CoordinatorSlot::u2,
      [](CoordinatorSlot& slot, uint32_t least) { return slot.CloseReady(least); });
}

absl::StatusOr<GroupedSlot::PerGroup<SurvivorSet>> GroupedSlot::CloseUploads(uint32_t cohort_min) {
  return CloseEach<SurvivorSet>(
      cohort_min, &CoordinatorSlot::u3,
      [](CoordinatorSlot& slot, uint32_t least) { return slot.CloseUploads(least); });
}

absl::StatusOr<GroupedSlot::PerGroup<UnmaskRequest>> GroupedSlot::CloseSurvivors(
    uint32_t cohort_min) {
  return CloseEach<UnmaskRequest>(
      cohort_min, &CoordinatorSlot::u3,
      [](CoordinatorSlot& slot, uint32_t) { return slot.CloseSurvivors(); });
}

uint32_t GroupedSlot::Usable(const std::set<SiteId>& live) const {
  uint32_t usable = 0;
  for (const Group& group : groups_) {
    if (group.out) continue;
    const std::vector<SiteId>& u1 = group.slot.u1();
    const auto there = static_cast<uint32_t>(
        std::count_if(u1.begin(), u1.end(), [&](SiteId site) { return live.contains(site); }));
    if (there >= group.slot.threshold()) usable += there;
  }
  return usable;
}

uint32_t GroupedSlot::threshold() const {
  uint32_t smallest = 0;
  for (const Group& group : groups_) {
    if (group.out) continue;
    const uint32_t threshold = group.slot.threshold();
    smallest = smallest == 0 ? threshold : std::min(smallest, threshold);
  }
  return smallest;
}

uint32_t GroupedSlot::sites() const {
  return split_ ? total_ : static_cast<uint32_t>(groups_.front().slot.u0().size());
}

uint32_t GroupedSlot::groups_left() const {
  return static_cast<uint32_t>(
      std::count_if(groups_.begin(), groups_.end(), [](const Group& group) { return !group.out; }));
}

}  // namespace atl::secagg
