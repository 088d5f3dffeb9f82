// One job: whom it was offered to, who takes part, its slots, its rounds, its evaluations, its end.
//
//   queued -> offered -> running -> judging (the last evaluation, the sites' last checks) ->
//   complete and to failed or cancelled from anywhere before complete
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "federation/coordinator/events.h"
#include "federation/coordinator/round_state.h"
#include "federation/coordinator/slot_setup.h"
#include "federation/coordinator/split_setup.h"
#include "recipes/schema/recipe.h"

namespace atl::coordinator {

// What all jobs of a coordinator share. Outlives them.
struct Environment {
  const secagg::Roster* roster = nullptr;
  const CryptoSuite* suite = nullptr;
  // In place of the recipes' own values.
  std::optional<int> reconnect_grace_s, cohort_wait_s;
  int restart_grace_s = 30;  // for sites to come back to a coordinator that was restarted
};

// The evaluator, as jobs see it.
struct EvaluatorState {
  bool connected = false;
  bool ever_connected = false;
  int64_t since_ms = 0;  // of the connection or its end
  int64_t heard_ms = 0;
};

// A state machine without I/O and clock: every method is a step on an event, at now_ms, with its
// effects. The same events give the same state, also when time runs differently: timeouts come in
// as events (see Due). Not thread-safe.
class JobState {
 public:
  enum class Stage { kQueued, kOffered, kRunning, kJudging, kEnded };

  // `environment` and `evaluator` outlive the job. The recipe is the event's, parsed.
  JobState(const JobSubmitted& submitted, recipes::Recipe recipe, const Environment& environment,
           const EvaluatorState& evaluator);

  void Place(const std::vector<SiteId>& sites, int64_t now_ms, Effects& out);
  void Cancel(const std::string& reason, int64_t now_ms, Effects& out);
  void Connected(SiteId site, int64_t now_ms, Effects& out);
  void Gone(SiteId site, const std::string& why, int64_t now_ms, Effects& out);
  void Restarted(int64_t now_ms, Effects& out);
  // Decision, secagg, evaluation, failure.
  void Said(SiteId site, const v1::SiteMessage& message, int64_t now_ms, Effects& out);
  void Heard(SiteId site, int64_t now_ms);
  void Progress(SiteId site, const v1::SiteProgress& progress, int64_t now_ms, Effects& out);
  void Uploaded(const UploadComplete& event, int64_t now_ms, Effects& out);
  void Summed(const SumDone& event, int64_t now_ms, Effects& out);
  void SumFailed(const coordinator::SumFailed& event, int64_t now_ms, Effects& out);
  void AbortAttempt(const AttemptFailed& event, int64_t now_ms, Effects& out);
  void Drop(SiteId site, const std::string& why, int64_t now_ms, Effects& out);
  void CohortWaitOver(int64_t now_ms, Effects& out);
  void GiveUpEvaluation(const std::string& why, int64_t now_ms, Effects& out);
  void GiveUpResult(const ResultGivenUp& event, Effects& out);
  void EvaluatorConnected(int64_t now_ms, Effects& out);
  void Downloaded(const Digest& blob, uint64_t bytes);
  // After a restart: what the log does not have of a published result. It changes what is sent, and
  // no decision.
  void RestoreSecrets(SlotId slot, const std::vector<secagg::RevealedSecret>& secrets);
  bool NeedsSecrets(SlotId slot) const;
  // After a restart: the effects that are not messages, again.
  void Resume(Effects& out) const;

  // What has run out of time by now_ms: MemberDropped, CohortWaitOver, EvaluationGivenUp,
  // ResultGivenUp. Pure.
  std::vector<Event> Due(int64_t now_ms) const;

  JobId id() const { return id_; }
  Stage stage() const { return stage_; }
  const recipes::Recipe& recipe() const { return recipe_; }
  std::vector<SiteId> Working() const;  // members that it holds resources of
  std::set<Digest> Retained() const;    // blobs it needs, or may be asked for
  v1::JobReport Report(bool with_rounds) const;
  void Wait(const std::string& reason, Effects& out);  // why it is queued
  const Digest& first_model() const { return first_model_; }
  const Digest& sum() const { return sum_; }
  const std::vector<Digest>& group_sums() const { return group_sums_; }

 private:
  struct Member {
    uint32_t index = 0;
    bool connected = false;
    bool accepted = false;
    bool refused = false;     // for good
    bool dropped = false;     // not waited for, until it comes back
    std::string why;          // refused or dropped
    uint32_t dropped_in = 0;  // round
    int64_t gone_ms = 0;      // since when it is not connected
    int64_t heard_ms = 0;
    bool live() const { return accepted && !refused && !dropped; }
    bool undecided() const { return !accepted && !refused && !dropped; }
  };
  // Of the round that runs, over all its attempts.
  struct Tally {
    int64_t begun_ms = 0;
    uint32_t attempts = 0;
    uint64_t bytes_up = 0, bytes_down = 0;
    std::set<SiteId> asked;
    std::map<std::string, int64_t> phase_ms;
    double mask_hidden_s = 0,
           mask_paid_s = 0;  // the largest; not logged, so a restart forgets them
  };
  struct Evaluating {
    uint32_t round = 0;
    Digest model{};
    int64_t since_ms = 0;
    bool sent = false;
  };

  // R5 of a round: its result is published, and not all sites have said that they need no more.
  struct OpenResult {
    SlotId slot;
    std::map<uint32_t, secagg::Result> results;  // by number of the group
    std::map<SiteId, uint32_t> group_of;         // of the sites that were asked
    Digest sum{};
    bool complete = false;  // not after a restart, until the secrets are restored
    std::set<SiteId> pending;
    int64_t since_ms = 0;
    AllowChecks checks;
  };

  // job_state.cc
  void Offer(SiteId site, Effects& out) const;
  void Decide(SiteId site, const v1::JobDecision& decision, int64_t now_ms, Effects& out);
  void BeginIfDecided(int64_t now_ms, Effects& out);
  void End(v1::JobStatus status, std::string reason, Effects& out);
  void Advance(int64_t now_ms, Effects& out);
  bool Ended() const { return stage_ == Stage::kEnded; }
  std::set<SiteId> Live() const;
  std::string Name(SiteId site) const;
  std::string Losses() const;
  int64_t GraceMs() const;
  int64_t CohortWaitMs() const;
  int64_t ProgressMs() const;
  // job_rounds.cc
  void TakeStep(SiteId site, const v1::SecAgg& step, int64_t now_ms, Effects& out);
  void SettleSlots(int64_t now_ms, Effects& out);
  // job_split.cc
  bool IsGrouped() const;
  secagg::GroupTerms Terms() const;
  bool CanSplit(const std::set<SiteId>& live) const;
  // Split, and enough of `live` are in groups that can go on.
  bool HasGroups(const std::set<SiteId>& live) const;
  void SettleSplit(int64_t now_ms, Effects& out);
  // Why no round can begin with these; empty: one can.
  std::string Lack(const std::set<SiteId>& live) const;
  void OpenSlots(int64_t now_ms, Effects& out);
  void BurnSlot(SlotId slot, const std::set<SiteId>& sites, const std::string& why, Effects& out);
  void BeginRound(int64_t now_ms, Effects& out);
  void SettleAttempt(int64_t now_ms, Effects& out);
  void AwaitCohort(const std::string& why, int64_t now_ms, Effects& out);
  bool IsAdmissible(const std::set<SiteId>& sites) const;
  RoundPlan Plan(std::set<SiteId> live, uint32_t sites) const;
  double Range() const;  // of the scale of the round that runs
  secagg::Session SessionOf(SlotId slot) const;
  uint32_t CurrentRound() const { return rounds_completed_ + 1; }
  // job_results.cc
  void PublishResult(const SumDone& event, int64_t now_ms, Effects& out);
  void SendResult(SiteId site, const OpenResult& open, Effects& out) const;
  void SendOpenResults(SiteId site, Effects& out) const;
  absl::Status TakeChecked(SiteId site, const v1::SecAgg& step, Effects& out);
  // Closes the results that nobody is waited for any more, and the job if it was the last.
  void SettleResults(Effects& out);
  void CloseResult(RoundId round, Effects& out);
  void RemoveSums(const OpenResult& closed, Effects& out) const;
  void DueResults(int64_t now_ms, std::vector<Event>& due) const;
  void Complete(Effects& out);  // if nothing is waited for
  // job_report.cc
  v1::RoundReport Close(const SumOutcome& outcome, int64_t now_ms);
  void AskEvaluation(uint32_t round, int64_t now_ms, Effects& out);
  void SendEvaluation(Evaluating& evaluating, Effects& out);
  void Evaluated(const v1::Evaluation& evaluation, int64_t now_ms, Effects& out);
  void PublishStatus(Effects& out) const;
  void PublishRound(uint32_t round, Effects& out) const;

  const Environment* environment_;
  const EvaluatorState* evaluator_;
  JobId id_;
  recipes::Recipe recipe_;
  std::string recipe_yaml_;
  Digest recipe_digest_{};
  secagg::RunId run_{};
  uint64_t parameters_ = 0;
  Digest first_model_{}, model_{}, previous_model_{}, sum_{};
  std::vector<Digest> group_sums_;  // of the round that sum_ is of
  double next_range_ = 0;           // strategy::NextRange of the last sum; 0: there is none

  Stage stage_ = Stage::kQueued;
  v1::JobStatus status_ = v1::QUEUED;
  std::string reason_;
  std::map<SiteId, Member> members_;
  int64_t offered_ms_ = 0;
  int64_t waiting_since_ms_ = -1;  // for a cohort; -1: it does not wait

  std::optional<SplitSetup> split_;  // of a run in groups
  uint32_t split_attempts_ = 0, splits_revealed_ = 0, splits_aborted_ = 0;

  uint64_t next_slot_ = 1;
  std::map<SlotId, SlotSetup> slots_;
  uint32_t setups_failed_ = 0;  // in a row
  std::optional<RoundState> attempt_;
  std::map<RoundId, OpenResult> results_;
  std::vector<secagg::SignedCohort> signed_;  // in aborted attempts at the round that runs
  uint32_t rounds_completed_ = 0;
  Tally tally_;
  uint32_t threshold_ = 0;

  std::vector<v1::RoundReport> reports_;   // by round
  std::map<Digest, uint32_t> blob_round_;  // whose download counts for which round
  std::vector<Evaluating> evaluating_;     // oldest first
  bool evaluate_ = false;
  int64_t judging_since_ms_ = 0;
};

}  // namespace atl::coordinator
