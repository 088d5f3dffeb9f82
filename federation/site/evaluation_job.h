// An evaluator's part in one job: measures each new model on the public test set.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "federation/site/job.h"
#include "federation/site/worker.h"

namespace atl::site {

// Models are measured one by one, in the order in which they were asked for. One rank, started
// once.
class EvaluationJob : public Job, private TrainerEvents {
 public:
  // `services` outlive the job.
  EvaluationJob(Offer offer, const Services& services);
  ~EvaluationJob() override;

  const Offer& offer() const override { return offer_; }
  void Start() override;
  void OnReconnected() override;
  void OnSecAgg(const v1::SecAgg& message) override;
  void OnEvaluate(const v1::StartEvaluation& message) override;
  void OnRoundAborted(const v1::RoundAborted& message) override {}
  void Tick() override;
  void Stop(int grace_ms) override;
  void Forget() override;

  static constexpr size_t kMaxWaiting = 64;  // further ones are not measured
  static constexpr size_t kMaxKept = 16;     // results that are said again when asked again

 private:
  struct Wanted {
    uint32_t round = 0;
    Digest model{};
  };
  void Advance();
  absl::Status TryAdvance();
  void OnModel(const Digest& root, const absl::Status& status);
  void Fail(const std::string& reason);
  void SendFailure();

  void OnTrainerReady(const sitelink::Hello& hello) override;
  void OnTrainerFrame(sitelink::Frame frame) override;
  void OnTrainerLost(const std::string& reason) override;
  void OnTrainerFailed(const std::string& reason) override;
  absl::Status HandleFrame(const sitelink::Frame& frame);

  const Offer offer_;
  const Services& services_;
  ProgressReporter progress_;
  std::string failure_;
  std::deque<Wanted> waiting_;               // the first one is being measured
  bool running_ = false;                     // by the trainer
  std::map<uint32_t, v1::Evaluation> done_;  // by round
  std::optional<uint32_t> unconfirmed_;  // the last result, which the coordinator may not have got
  std::shared_ptr<Cancellation> fetching_;
  std::unique_ptr<TrainerHost> trainer_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Worker> worker_;
};

}  // namespace atl::site
