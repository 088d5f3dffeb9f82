// R0 to R4 of one attempt at one round, and the sum.
//
//   training (R0, R1) -> uploading (U2, R2) -> signing (R3) -> unmasking (R4) -> summing -> done
//   and to aborted from anywhere. Without secure aggregation: uploading (R0, R2) -> summing ->
//   done.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "federation/coordinator/events.h"
#include "federation/coordinator/plain_round.h"
#include "federation/secagg/grouped_slot.h"

namespace atl::coordinator {

// What the job says about the attempt.
struct RoundPlan {
  JobId job;
  RoundId round;
  SlotId slot;                // 0 without secure aggregation
  secagg::Manifest manifest;  // slot, H(U0), members and t are completed from the slot
  std::set<SiteId>
      live;  // members of the slot that are there; without secure aggregation: the participants
  uint32_t cohort_min = 1;
  // What sites were asked to sign in the round's attempts before: their ledgers hold it against
  // this one's survivors.
  std::vector<secagg::SignedCohort> earlier;
  std::string strategy;
  double server_lr = 1;
  strategy::ScaleRule scale_rule = strategy::ScaleRule::kClip;
};

// A state machine without I/O and clock. Owned by a JobState. All groups of a split run take a step
// together; one that falls under its t is out, and the attempt is aborted when the others are under
// cohort_min.
class RoundState {
 public:
  enum class Phase { kTraining, kUploading, kSigning, kUnmasking, kSumming, kDone, kAborted };

  // Sends the manifest. Errors are of the slot: what it cannot be used for.
  static absl::StatusOr<RoundState> Masked(RoundPlan plan, secagg::GroupedSlot slot, int64_t now_ms,
                                           Effects& out);
  static RoundState Plain(RoundPlan plan, const secagg::Session& session,
                          const secagg::Roster& roster, const CryptoSuite& suite, int64_t now_ms,
                          Effects& out);

  // A message of R1 to R4. OK also for one that comes late or twice. Errors are the sender's fault:
  // UNAUTHENTICATED, INVALID_ARGUMENT, ALREADY_EXISTS; the state is as before.
  absl::Status Take(SiteId from, v1::Step step, ByteView payload, int64_t now_ms, Effects& out);
  void Uploaded(SiteId site, int64_t now_ms, Effects& out);
  // The site is no longer waited for, in this attempt.
  void Drop(SiteId site, int64_t now_ms, Effects& out);
  // The sum is made (also when it was made before a restart, which forgets R4).
  void Summed(int64_t now_ms);
  void Abort(std::string reason, Effects& out);
  // Repeats what the site is still asked, to one that has reconnected.
  void Resend(SiteId site, Effects& out) const;
  // R4 is asked again, since its shares are not written down.
  void Restarted(int64_t now_ms);
  // After a restart: the effects that are not messages, again.
  void Resume(Effects& out) const;

  const RoundPlan& plan() const { return plan_; }
  Phase phase() const { return phase_; }
  int64_t phase_since_ms() const { return phase_since_ms_; }
  bool over() const { return phase_ == Phase::kDone || phase_ == Phase::kAborted; }
  const std::string& reason() const { return reason_; }  // of kAborted
  const std::string& failure() const {
    return failure_;
  }                                  // of the unmasking: the attempt is to be aborted
  std::set<SiteId> Pending() const;  // who is waited for
  const char* Awaited() const;       // what for: "its masked vector"
  std::set<SiteId> Asked() const { return plan_.live; }
  const std::vector<SiteId>& survivors() const { return survivors_; }
  // What sites were asked to sign, each group's; empty before R3.
  const std::vector<secagg::SignedCohort>& signed_cohorts() const { return signed_cohorts_; }
  uint32_t threshold() const { return slot_ ? slot_->threshold() : 0; }  // the groups' smallest
  uint32_t group_count() const { return slot_ ? slot_->group_count() : 1; }
  // Groups in the sum; 0 where the run is not split.
  uint32_t groups() const { return slot_ && slot_->is_split() ? slot_->groups_left() : 0; }
  // The group's number, as in its manifest: 0 where the run is not split.
  uint32_t GroupNumberOf(SiteId site) const { return slot_ ? NumberOf(GroupOf(site)) : 0; }
  // What the attempt has to say in R5 to each group that is not out, by its number: round, U3,
  // signatures, secrets. After a restart that came after the sum the secrets are not known here.
  std::map<uint32_t, secagg::Result> Results() const;
  // Milliseconds by phase: train, mask, upload, unmask, sum.
  const std::map<std::string, int64_t>& phase_ms() const { return phase_ms_; }

 private:
  RoundState(RoundPlan plan, int64_t now_ms)
      : plan_(std::move(plan)), phase_since_ms_(now_ms), split_ms_(now_ms) {}
  const secagg::Commit* CommitOf(SiteId site) const;
  std::vector<SiteId> Members() const;  // of the set that the phase is about
  uint32_t GroupOf(SiteId site) const;  // index; 0 where the run is not split
  void Ask(SiteId site, Effects& out) const;
  void Enter(Phase phase, int64_t now_ms, Effects& out);
  void Charge(const char* phase, int64_t now_ms);
  void Allow(SiteId site, Effects& out) const;
  void AddEarly(SiteId site, Effects& out) const;
  // Whether enough are left for what the phase asks, and to reveal after it; else says why not.
  std::optional<std::string> Shortage();
  bool HasEnough() const;
  void CloseIfDone(int64_t now_ms, Effects& out);
  absl::Status Close(int64_t now_ms, Effects& out);
  uint32_t NumberOf(uint32_t index) const { return slot_->is_split() ? index + 1 : 0; }
  void TakeStreams(Effects& out);  // R4's outcome, by group
  absl::Status Reveal(const secagg::CoordinatorSlot& group, SumGroup& sum, KeepSecrets& keep);
  void BeginSum(int64_t now_ms, Effects& out);
  StartSum Task() const;
  absl::Status TakeCommit(SiteId from, ByteView payload, int64_t now_ms, Effects& out);

  RoundPlan plan_;
  std::optional<secagg::GroupedSlot> slot_;
  std::optional<PlainRound> plain_;
  Phase phase_ = Phase::kTraining;
  int64_t phase_since_ms_ = 0;
  int64_t split_ms_ = 0;       // up to here time is charged to phases
  std::set<SiteId> answered_;  // the phase's question; uploading: whose vectors are whole
  std::set<SiteId> dropped_;
  std::map<uint32_t, uint32_t> unread_answers_;  // to R4, in a log, by group
  std::string failure_;
  std::map<uint32_t, Bytes> questions_;  // encoded, by group
  std::vector<SiteId> survivors_;
  std::vector<secagg::SignedCohort> signed_cohorts_;
  std::vector<SumGroup> sums_;  // of the groups that are not out
  std::map<uint32_t, std::vector<secagg::RevealedSecret>> secrets_;  // by number of the group
  std::map<std::string, int64_t> phase_ms_;
  std::string reason_;
};

}  // namespace atl::coordinator
