#include "federation/site/evaluation_job.h"

#include <algorithm>
#include <utility>

#include "comms/base/log.h"
#include "comms/base/status.h"
#include "federation/site/downloader.h"

namespace atl::site {

EvaluationJob::EvaluationJob(Offer offer, const Services& services)
    : offer_(std::move(offer)),
      services_(services),
      progress_(services, offer_.job),
      worker_(std::make_unique<Worker>()) {
  trainer_ = std::make_unique<TrainerHost>(TrainerOptionsFor(services, offer_, 1), SetupFor(offer_),
                                           *services.launcher, *services.queue, *services.clock,
                                           static_cast<TrainerEvents&>(*this));
}

void EvaluationJob::Start() { trainer_->Start(); }

EvaluationJob::~EvaluationJob() {
  *alive_ = false;
  if (fetching_) fetching_->Cancel();
  services_.queue->Wake();
  worker_.reset();
}

void EvaluationJob::OnReconnected() {
  if (!failure_.empty()) return SendFailure();
  const auto last = unconfirmed_ ? done_.find(*unconfirmed_) : done_.end();
  if (last == done_.end()) return;
  v1::SiteMessage message;
  *message.mutable_evaluation() = last->second;
  services_.send(std::move(message));
}

void EvaluationJob::OnSecAgg(const v1::SecAgg& message) {
  spdlog::warn("not answered: job {}: this agent is an evaluator, not a site", message.job_id());
}

void EvaluationJob::OnEvaluate(const v1::StartEvaluation& message) {
  if (!failure_.empty()) return;
  Wanted wanted;
  wanted.round = message.round();
  if (message.model().size() != wanted.model.size()) {
    spdlog::warn("not answered: evaluation of a model whose name has {} bytes",
                 message.model().size());
    return;
  }
  std::copy(message.model().begin(), message.model().end(), wanted.model.begin());
  if (const auto known = done_.find(wanted.round); known != done_.end()) {
    v1::SiteMessage answer;
    *answer.mutable_evaluation() = known->second;
    services_.send(std::move(answer));
    return;
  }
  for (const Wanted& waiting : waiting_) {
    if (waiting.round == wanted.round) return;  // asked again after a reconnection
  }
  if (waiting_.size() >= kMaxWaiting) {
    spdlog::warn("job {}: round {} is not evaluated: {} models wait already", offer_.job.value(),
                 wanted.round, waiting_.size());
    return;
  }
  unconfirmed_.reset();
  waiting_.push_back(wanted);
  Advance();
}

void EvaluationJob::Advance() {
  if (absl::Status status = TryAdvance(); !status.ok()) Fail(ToString(status));
}

absl::Status EvaluationJob::TryAdvance() {
  if (!failure_.empty() || waiting_.empty() || running_ || fetching_) return absl::OkStatus();
  const Wanted wanted = waiting_.front();
  if (!services_.blobs->Has(wanted.model)) {
    const Download download{wanted.model, ModelChunkBytes(offer_.parameters)};
    fetching_ = worker_->Start([this, download](Cancellation& cancellation) {
      const absl::Status status =
          DownloadBlob(services_.channel, download, *services_.blobs, cancellation);
      services_.queue->Push(
          [this, alive = alive_, root = download.root, status] {
            if (*alive) OnModel(root, status);
          },
          &cancellation.flag());
    });
    return absl::OkStatus();
  }
  if (!trainer_ || !trainer_->ready()) return absl::OkStatus();
  ATOLL_ASSIGN_OR_RETURN(store::BlobReader model, services_.blobs->OpenBlob(wanted.model));
  trainer_->SendModelAnd(std::make_shared<const store::BlobReader>(std::move(model)),
                         sitelink::Evaluate{wanted.round});
  running_ = true;
  progress_.Report(wanted.round, "evaluate");
  return absl::OkStatus();
}

void EvaluationJob::OnModel(const Digest& root, const absl::Status& status) {
  fetching_ = nullptr;
  if (!status.ok()) {
    // A model that was replaced before its turn came: the next one, then.
    spdlog::warn("job {}: model {} is not evaluated: {}", offer_.job.value(), Hex(root),
                 ToString(status));
    if (!waiting_.empty() && waiting_.front().model == root) waiting_.pop_front();
  }
  Advance();
}

absl::Status EvaluationJob::HandleFrame(const sitelink::Frame& frame) {
  switch (static_cast<sitelink::MessageType>(frame.type)) {
    case sitelink::MessageType::kProgress: {
      ATOLL_ASSIGN_OR_RETURN(const auto progress,
                             sitelink::Decode<sitelink::Progress>(frame.payload));
      progress_.Report(progress.round, progress.phase, progress.step, progress.steps,
                       progress.examples_per_s);
      return absl::OkStatus();
    }
    case sitelink::MessageType::kEvaluated: {
      ATOLL_ASSIGN_OR_RETURN(const auto evaluated,
                             sitelink::Decode<sitelink::Evaluated>(frame.payload));
      if (!running_ || waiting_.front().round != evaluated.round) {
        return absl::InvalidArgumentError("it sent Evaluated unasked");
      }
      trainer_->SetIdle();
      running_ = false;
      const Wanted wanted = waiting_.front();
      waiting_.pop_front();
      v1::Evaluation& result = done_[evaluated.round];
      result.set_job_id(offer_.job.value());
      result.set_round(evaluated.round);
      result.set_examples(evaluated.examples);
      result.set_correct(evaluated.correct);
      result.set_loss_sum(evaluated.loss_sum);
      unconfirmed_ = evaluated.round;
      v1::SiteMessage message;
      *message.mutable_evaluation() = result;
      services_.send(std::move(message));
      if (done_.size() > kMaxKept) done_.erase(done_.begin());
      const bool wanted_again =
          std::any_of(waiting_.begin(), waiting_.end(),
                      [&](const Wanted& other) { return other.model == wanted.model; });
      if (!wanted_again) ATOLL_RETURN_IF_ERROR(services_.blobs->Remove(wanted.model));
      return TryAdvance();
    }
    default:
      return absl::InvalidArgumentError(absl::StrCat("it sent a message of type ", frame.type));
  }
}

void EvaluationJob::OnTrainerReady(const sitelink::Hello& hello) { Advance(); }

void EvaluationJob::OnTrainerFrame(sitelink::Frame frame) {
  if (!failure_.empty()) return;
  if (absl::Status status = HandleFrame(frame); !status.ok()) {
    Fail(absl::StrCat("trainer: ", ToString(status)));
  }
}

void EvaluationJob::OnTrainerLost(const std::string& reason) { running_ = false; }

void EvaluationJob::OnTrainerFailed(const std::string& reason) { Fail(reason); }

void EvaluationJob::Fail(const std::string& reason) {
  if (!failure_.empty()) return;
  failure_ = ForWire(reason);
  waiting_.clear();
  spdlog::error("job {} is not evaluated any more: {}", offer_.job.value(), failure_);
  SendFailure();
}

void EvaluationJob::SendFailure() {
  v1::SiteMessage message;
  v1::SiteFailure& body = *message.mutable_failure();
  body.set_job_id(offer_.job.value());
  body.set_reason(failure_);
  services_.send(std::move(message));
}

void EvaluationJob::Tick() {
  if (!failure_.empty()) trainer_.reset();
  if (trainer_) trainer_->Tick();
}

void EvaluationJob::Stop(int grace_ms) {
  if (trainer_) trainer_->Stop(grace_ms);
  trainer_.reset();
  running_ = false;
  if (fetching_) fetching_->Cancel();
}

void EvaluationJob::Forget() {
  worker_.reset();
  for (const Wanted& wanted : waiting_) {
    if (absl::Status status = services_.blobs->Remove(wanted.model); !status.ok()) {
      spdlog::error(ToString(status));
    }
  }
  waiting_.clear();
}

}  // namespace atl::site
