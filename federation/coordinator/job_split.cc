// JobState's split into groups: when a run has to be dealt, and dealt again.

#include "absl/strings/str_cat.h"
#include "federation/coordinator/job_state.h"

namespace atl::coordinator {
namespace {

// Attempts that ended before anybody was to reveal cost nothing but time.
constexpr uint32_t kEarlyAbortsMax = 25;

}  // namespace

secagg::GroupTerms JobState::Terms() const {
  return {static_cast<uint32_t>(recipe_.secure_aggregation.group_size_max),
          static_cast<uint32_t>(recipe_.secure_aggregation.corrupt_sites_max)};
}

// By the number of sites that were asked, which every site was told, so that both sides agree.
bool JobState::IsGrouped() const {
  return recipe_.secure_aggregation.enabled && members_.size() > Terms().size_max;
}

bool JobState::CanSplit(const std::set<SiteId>& live) const {
  return live.size() >= static_cast<size_t>(recipe_.federation.cohort_min) &&
         secagg::PickGroupSizes(static_cast<uint32_t>(live.size()), Terms()).ok();
}

bool JobState::HasGroups(const std::set<SiteId>& live) const {
  return split_ && split_->phase() == SplitSetup::Phase::kSplit &&
         split_->Usable(live) >= static_cast<uint32_t>(recipe_.federation.cohort_min);
}

std::string JobState::Lack(const std::set<SiteId>& live) const {
  const auto min = static_cast<size_t>(recipe_.federation.cohort_min);
  if (live.size() < min) {
    return absl::StrCat(live.size(), " of at least ", min, " are left: ", Losses());
  }
  if (recipe_.secure_aggregation.enabled && !IsAdmissible(live)) {
    return absl::StrCat("the sites that are left differ by one from those of an attempt at round ",
                        CurrentRound(),
                        " whose survivors were signed, and would refuse: ", Losses());
  }
  if (!IsGrouped() || HasGroups(live) || CanSplit(live)) return "";
  const auto sizes = secagg::PickGroupSizes(static_cast<uint32_t>(live.size()), Terms());
  return absl::StrCat(std::string(sizes.status().message()), "; ", live.size(), " of ",
                      members_.size(), " sites are left: ", Losses());
}

// One split serves all rounds. It is dealt again only when too few of its groups can go on: then
// its slots are of no use.
void JobState::SettleSplit(int64_t now_ms, Effects& out) {
  if (!IsGrouped()) return;
  if (split_ && split_->phase() == SplitSetup::Phase::kAborted) {
    const std::string why = split_->reason();
    const bool revealed = split_->revealing();
    split_.reset();
    ++(revealed ? splits_revealed_ : splits_aborted_);
    out.Note(id_, absl::StrCat("split into groups, attempt ", split_attempts_, " aborted: ", why));
    if (splits_revealed_ >= secagg::kSplitAttemptsMax || splits_aborted_ > kEarlyAbortsMax) {
      return End(v1::FAILED,
                 absl::StrCat("the sites could not be split into groups in ", split_attempts_,
                              " attempts, at last: ", why),
                 out);
    }
  }
  const std::set<SiteId> live = Live();
  if (split_ && (split_->phase() != SplitSetup::Phase::kSplit || HasGroups(live))) return;
  if (attempt_ || !CanSplit(live)) return;
  if (split_) {
    // It was revealed, as the one that follows it will be.
    if (++splits_revealed_ >= secagg::kSplitAttemptsMax) {
      return End(v1::FAILED,
                 absl::StrCat("too few sites of each group are left (", Losses(),
                              "), and the sites were split ", splits_revealed_, " times already"),
                 out);
    }
    out.Note(id_, "too few sites of each group are left: they are split again");
    for (const auto& [slot, setup] : slots_) {
      BurnSlot(slot, {setup.invited().begin(), setup.invited().end()}, "the groups are dealt anew",
               out);
    }
    slots_.clear();
  }
  split_.emplace(id_,
                 secagg::CoordinatorSplit(SessionOf(SlotId(0)), *environment_->roster,
                                          *environment_->suite, Terms(), ++split_attempts_),
                 std::vector<SiteId>(live.begin(), live.end()), now_ms, out);
}

}  // namespace atl::coordinator
