// A site's part in one job: its rounds, from the manifest to the result.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "federation/secagg/messages.h"
#include "federation/secagg/spot_check.h"
#include "federation/site/job.h"
#include "federation/site/slot_book.h"
#include "federation/site/worker.h"
#include "kernels/vector_layout.h"

namespace atl::site {

// One attempt at a round, from its manifest on.
struct Attempt {
  secagg::Manifest manifest;
  Digest hash{};  // of the manifest
  kernels::VectorLayout layout;
  bool prepared = false;                        // the trainer has its masks for ctx(U1)
  bool ready_sent = false;                      // R1
  std::optional<secagg::CohortSet> cohort;      // U2, as soon as it is known
  std::shared_ptr<store::StagedVector> vector;  // from Release on
  std::optional<secagg::Commit> commit;         // R2: y_i is whole, durable and committed to
  bool uploaded = false;
  std::optional<std::vector<SiteId>> survivors;  // U3 that was signed
};

// Messages of the coordinator and of the trainer change the state; Advance() then does what is
// next. What the coordinator asks again is answered again with the same bytes (SiteSlot sees to
// that).
//
// The trainer's update may be released once. An attempt that is aborted before its Release leaves
// the update for the next attempt at the same round from the same model; after a Release the round
// is trained anew, as it is when the trainer was lost. A trainer that is busy with a round that is
// over is left to finish, since it cannot be interrupted without losing it.
//
// A result is checked twice: the site takes the server's step from the published sum itself, and
// looks at some of the sum's chunks again (SpotCheck), while the next round trains. Until then it
// releases no further update, keeps the slot, and goes on with the check after a restart.
//
// A refusal (a manifest against the recipe or the floors, a signature that does not verify, a wrong
// result) ends the job at this site: SiteFailure says why, slots are burnt, the trainer is stopped.
class SiteJob : public Job, private TrainerEvents {
 public:
  // Reads what an earlier life of this agent has journalled of the run. FAILED_PRECONDITION when
  // the run was begun with another first model; the store's errors. `services` outlive the job.
  static absl::StatusOr<std::unique_ptr<SiteJob>> Create(Offer offer, const Services& services);
  ~SiteJob() override;

  const Offer& offer() const override { return offer_; }
  void Start() override;
  void OnReconnected() override;
  void OnSecAgg(const v1::SecAgg& message) override;
  void OnEvaluate(const v1::StartEvaluation& message) override;
  void OnRoundAborted(const v1::RoundAborted& message) override;
  void Tick() override;
  void Stop(int grace_ms) override;
  void Forget() override;

 private:
  // What the trainer does, as far as it was told.
  enum class TrainerState { kAway, kIdle, kTraining, kTrained, kMasking };

  SiteJob(Offer offer, const Services& services);
  absl::Status Restore();

  // Steps of the protocol (site_job.cc). An error is a refusal, but for NOT_FOUND and
  // FAILED_PRECONDITION: those are messages that came late, and are left unanswered.
  absl::Status Handle(const v1::SecAgg& message);
  absl::Status HandleSplit(const v1::SecAgg& message);  // commit and reveal of the groups
  absl::Status OnManifest(const v1::SecAgg& message);
  absl::Status OnCohort(const v1::SecAgg& message);
  absl::Status OnSurvivors(const v1::SecAgg& message);
  void SendStep(SlotId slot, v1::Step step, Bytes payload);
  void Fail(const std::string& reason);
  void SendFailure();

  // The round (site_job_round.cc).
  absl::StatusOr<secagg::ManifestExpectation> Expect(const secagg::Manifest& manifest) const;
  std::optional<double> KnownRange(const secagg::Manifest& manifest) const;
  absl::Status BeginAttempt(const secagg::Manifest& manifest);
  void DropAttempt();
  // Whatever can be done now, again and again.
  void Advance();
  absl::Status TryAdvance();
  void FetchModel();
  void OnModel(const Digest& root, const absl::Status& status);
  absl::Status Train();
  // The masks that the attempt will have if U2 is U1, for the trainer to expand while there is
  // time.
  absl::StatusOr<sitelink::Prepare> MasksAhead();
  bool WantsMasksAhead() const;
  absl::StatusOr<Bytes> SealForTrainer(std::vector<secagg::MaskStream> streams);
  absl::Status Release();
  absl::Status CommitVector();
  void StartUpload();
  void OnUploaded(SlotId slot, RoundId round, const absl::Status& status);
  store::VectorId VectorIdOf(const Attempt& attempt) const;

  // The result (site_job_result.cc).
  struct Outcome;
  absl::StatusOr<std::optional<secagg::ResultClaim>> CheckedClaim(const Outcome& outcome) const;
  absl::Status OnResult(const v1::SecAgg& message);
  void OnStepTaken(const std::shared_ptr<Outcome>& outcome,
                   const absl::StatusOr<double>& next_range);
  absl::Status RestoreCheck();
  void ResumeCheck();
  void StartCheck(const std::shared_ptr<Outcome>& outcome);
  void OnChecked(uint32_t chunks, const absl::Status& status);
  absl::Status EndCheck();
  void SendChecked(SlotId slot, RoundId round, uint32_t chunks);

  // TrainerEvents.
  void OnTrainerReady(const sitelink::Hello& hello) override;
  void OnTrainerFrame(sitelink::Frame frame) override;
  void OnTrainerLost(const std::string& reason) override;
  void OnTrainerFailed(const std::string& reason) override;
  absl::Status HandleFrame(const sitelink::Frame& frame);
  absl::Status OnMaskedChunk(const sitelink::MaskedChunk& chunk);

  // Runs `then` on the event loop, unless the job is gone.
  void Post(const Cancellation& cancellation, std::function<void()> then);

  const Offer offer_;
  const Services& services_;
  std::unique_ptr<SlotBook> slots_;
  ProgressReporter progress_;
  store::RunRow run_;    // durable
  std::string failure_;  // why the job is over here; empty: it is not
  std::optional<Attempt> attempt_;
  std::optional<secagg::Manifest> restored_;  // of an earlier life's attempt, until Start
  std::optional<Digest> next_model_;          // that the running step makes
  // The result whose sum is being checked, also over a restart: the next update waits for it.
  struct Check {
    SlotId slot;
    RoundId round;
    Digest sum{};
  };
  std::optional<Check> check_;
  std::shared_ptr<Outcome> restored_check_;  // until Start
  std::optional<v1::SecAgg> held_manifest_;  // came while a result was worked on
  std::shared_ptr<Cancellation> fetching_, uploading_, stepping_, checking_;  // null: not running

  TrainerState trainer_state_ = TrainerState::kAway;
  RoundId trained_round_;  // that it trains or has trained, from trained_model_
  Digest trained_model_{};
  Digest masking_{};  // H(manifest) that it masks for
  PublicKey launch_key_{};
  std::unique_ptr<TrainerHost> trainer_;

  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Worker> worker_;  // its thread goes before anything else
};

}  // namespace atl::site
