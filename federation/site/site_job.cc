// Messages of the protocol, in and out. What a round does with them is in site_job_round.cc.
#include "federation/site/site_job.h"

#include <set>
#include <utility>

#include "comms/base/log.h"
#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"

namespace atl::site {
namespace {

std::string ManifestKey(const secagg::RunId& run) { return absl::StrCat("manifest/", Hex(run)); }

// Not the coordinator's fault, and not ours: a message that came late or twice.
bool IsLate(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsFailedPrecondition(status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SiteJob>> SiteJob::Create(Offer offer, const Services& services) {
  std::unique_ptr<SiteJob> job(new SiteJob(std::move(offer), services));
  ATOLL_RETURN_IF_ERROR(job->Restore());
  return job;
}

void SiteJob::Start() {
  progress_.Report(offer_.round.value(), "launch");
  trainer_->Start();
  ResumeCheck();
  if (!restored_) return;
  const secagg::Manifest manifest = *std::exchange(restored_, std::nullopt);
  if (absl::Status status = BeginAttempt(manifest); !status.ok()) Fail(ToString(status));
}

SiteJob::SiteJob(Offer offer, const Services& services)
    : offer_(std::move(offer)),
      services_(services),
      progress_(services, offer_.job),
      worker_(std::make_unique<Worker>()) {
  const uint32_t ranks = static_cast<uint32_t>(offer_.recipe.site.ranks);
  trainer_ = std::make_unique<TrainerHost>(TrainerOptionsFor(services, offer_, ranks),
                                           SetupFor(offer_), *services.launcher, *services.queue,
                                           *services.clock, static_cast<TrainerEvents&>(*this));
}

SiteJob::~SiteJob() {
  *alive_ = false;
  for (const auto& task : {fetching_, uploading_, stepping_, checking_}) {
    if (task) task->Cancel();
  }
  services_.queue->Wake();
  worker_.reset();
}

absl::Status SiteJob::Restore() {
  SlotBookOptions book;
  book.run = offer_.run;
  book.terms = offer_.terms();
  book.is_grouped = offer_.is_grouped();
  book.data = DataDigest(offer_);
  book.aead = AeadOf(offer_.recipe);
  ATOLL_ASSIGN_OR_RETURN(slots_, SlotBook::Open(*services_.identity, *services_.store, book));
  const absl::StatusOr<store::RunRow> row = services_.store->GetRun(offer_.run);
  if (absl::IsNotFound(row.status())) {
    // Job numbers begin again with another coordinator: vectors of that number are another run's.
    ATOLL_RETURN_IF_ERROR(services_.vectors->RemoveJob(offer_.job));
    run_ = {offer_.run, offer_.job, RoundId(1), offer_.first_model, offer_.first_model, 0};
    return services_.store->SaveRun(run_);
  }
  ATOLL_RETURN_IF_ERROR(row.status());
  run_ = *row;
  if (run_.first_model != offer_.first_model) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", offer_.job.value(), ": its first model was ", Hex(run_.first_model),
                     ", now it is ", Hex(offer_.first_model)));
  }
  ATOLL_RETURN_IF_ERROR(RestoreCheck());
  const absl::StatusOr<Bytes> saved = services_.store->GetSetting(ManifestKey(offer_.run));
  if (!saved.ok() || saved->empty()) return absl::OkStatus();
  ATOLL_ASSIGN_OR_RETURN(const secagg::Manifest manifest, secagg::Decode<secagg::Manifest>(*saved));
  if (manifest.round < run_.round) return absl::OkStatus();
  if (manifest.masked && !slots_->Find(manifest.slot).ok()) return absl::OkStatus();
  restored_ = manifest;
  return absl::OkStatus();
}

void SiteJob::OnReconnected() {
  if (!failure_.empty()) return SendFailure();
  if (!attempt_) return;
  const Attempt& attempt = *attempt_;
  if (attempt.ready_sent && !attempt.commit && attempt.manifest.masked) {
    // The very same signature comes from the slot.
    attempt_->ready_sent = false;
    Advance();
  } else if (attempt.commit && !attempt.survivors) {
    SendStep(attempt.manifest.slot, v1::COMMIT, secagg::Encode(*attempt.commit));
    StartUpload();
  }
}

void SiteJob::OnSecAgg(const v1::SecAgg& message) {
  if (!failure_.empty()) return;
  const absl::Status status = Handle(message);
  if (status.ok()) return;
  const std::string what = absl::StrCat("job ", message.job_id(), ", slot ", message.slot(), ", ",
                                        v1::Step_Name(message.step()), ": ", ToString(status));
  if (IsLate(status)) {
    spdlog::warn("not answered: {}", what);
  } else {
    Fail(what);
  }
}

absl::Status SiteJob::Handle(const v1::SecAgg& message) {
  const SlotId slot(message.slot());
  const ByteView payload = AsBytes(message.payload());
  switch (message.step()) {
    case v1::REQUEST_PRE_KEYS: {
      ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * mine, slots_->OpenSlot(slot));
      ATOLL_ASSIGN_OR_RETURN(const secagg::PreKeyRecord record, mine->PreKeys());
      SendStep(slot, v1::PRE_KEYS, secagg::Encode(record));
      return absl::OkStatus();
    }
    case v1::PRE_KEY_SET: {
      ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * mine, slots_->Find(slot));
      ATOLL_ASSIGN_OR_RETURN(const auto set, secagg::Decode<secagg::PreKeySet>(payload));
      ATOLL_ASSIGN_OR_RETURN(const secagg::ShareBundle bundle, mine->DealShares(set));
      SendStep(slot, v1::SHARES, secagg::Encode(bundle));
      return absl::OkStatus();
    }
    case v1::SHARE_DELIVERY: {
      ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * mine, slots_->Find(slot));
      ATOLL_ASSIGN_OR_RETURN(const auto delivery, secagg::Decode<secagg::ShareDelivery>(payload));
      ATOLL_ASSIGN_OR_RETURN(const secagg::ShareReceipt receipt, mine->TakeShares(delivery));
      SendStep(slot, v1::SHARE_RECEIPT, secagg::Encode(receipt));
      return absl::OkStatus();
    }
    case v1::MANIFEST:
      return OnManifest(message);
    case v1::COHORT:
      return OnCohort(message);
    case v1::SURVIVORS:
      return OnSurvivors(message);
    case v1::UNMASK_REQUEST: {
      ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * mine, slots_->Find(slot));
      ATOLL_ASSIGN_OR_RETURN(const auto request, secagg::Decode<secagg::UnmaskRequest>(payload));
      ATOLL_ASSIGN_OR_RETURN(const secagg::UnmaskAnswer answer, mine->Unmask(request));
      SendStep(slot, v1::UNMASK_ANSWER, secagg::Encode(answer));
      return absl::OkStatus();
    }
    case v1::RESULT:
      return OnResult(message);
    case v1::REQUEST_GROUP_COMMIT:
    case v1::GROUP_COMMIT_SET:
    case v1::GROUP_SIGNATURE_SET:
    case v1::GROUP_REVEAL_SET:
      return HandleSplit(message);
    default:
      return absl::InvalidArgumentError("not a step that a coordinator takes");
  }
}

absl::Status SiteJob::HandleSplit(const v1::SecAgg& message) {
  secagg::SiteSplit* split = slots_->split();
  if (split == nullptr) return absl::InvalidArgumentError("this run is not split into groups");
  const ByteView payload = AsBytes(message.payload());
  if (message.step() == v1::REQUEST_GROUP_COMMIT) {
    ATOLL_ASSIGN_OR_RETURN(const auto open, secagg::Decode<secagg::GroupOpen>(payload));
    ATOLL_ASSIGN_OR_RETURN(const secagg::GroupCommit commit, split->Commit(open));
    SendStep(SlotId(0), v1::GROUP_COMMIT, secagg::Encode(commit));
  } else if (message.step() == v1::GROUP_COMMIT_SET) {
    ATOLL_ASSIGN_OR_RETURN(const auto commits, secagg::Decode<secagg::GroupCommitSet>(payload));
    ATOLL_ASSIGN_OR_RETURN(const secagg::GroupSignature signature, split->Sign(commits));
    SendStep(SlotId(0), v1::GROUP_SIGNATURE, secagg::Encode(signature));
  } else if (message.step() == v1::GROUP_SIGNATURE_SET) {
    ATOLL_ASSIGN_OR_RETURN(const auto set, secagg::Decode<secagg::GroupSignatureSet>(payload));
    ATOLL_ASSIGN_OR_RETURN(const secagg::GroupReveal reveal, split->Reveal(set));
    SendStep(SlotId(0), v1::GROUP_REVEAL, secagg::Encode(reveal));
  } else {
    ATOLL_ASSIGN_OR_RETURN(const auto reveals, secagg::Decode<secagg::GroupRevealSet>(payload));
    ATOLL_RETURN_IF_ERROR(split->Assign(reveals));
    spdlog::info("job {}: this site is in group {}, of {} sites of {}", offer_.job.value(),
                 split->group()->number, split->group()->scope.members.size(),
                 split->group()->scope.total);
  }
  return absl::OkStatus();
}

absl::Status SiteJob::OnManifest(const v1::SecAgg& message) {
  if (stepping_) {  // its model is in the making
    held_manifest_ = message;
    return absl::OkStatus();
  }
  ATOLL_ASSIGN_OR_RETURN(const auto manifest,
                         secagg::Decode<secagg::Manifest>(AsBytes(message.payload())));
  if (manifest.round.value() != message.round() || manifest.slot.value() != message.slot()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the manifest is for round ", manifest.round.value(), ", slot ", manifest.slot.value(),
        ": the message says ", message.round(), ", ", message.slot()));
  }
  if (attempt_ && attempt_->hash == secagg::HashOf(manifest)) {
    OnReconnected();  // a repeat
    return absl::OkStatus();
  }
  ATOLL_ASSIGN_OR_RETURN(const secagg::ManifestExpectation expected, Expect(manifest));
  if (manifest.masked) {
    ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * mine, slots_->Find(manifest.slot));
    ATOLL_RETURN_IF_ERROR(mine->CheckManifest(manifest, expected));
  } else {
    ATOLL_RETURN_IF_ERROR(
        secagg::CheckPlainManifest(*services_.identity, offer_.run, manifest, expected));
  }
  ATOLL_RETURN_IF_ERROR(CheckRound(manifest, offer_, KnownRange(manifest)));
  DropAttempt();
  ATOLL_RETURN_IF_ERROR(
      services_.store->PutSetting(ManifestKey(offer_.run), secagg::Encode(manifest)));
  ATOLL_RETURN_IF_ERROR(BeginAttempt(manifest));
  Advance();
  return absl::OkStatus();
}

absl::Status SiteJob::OnCohort(const v1::SecAgg& message) {
  if (!attempt_ || attempt_->manifest.slot.value() != message.slot() ||
      !attempt_->manifest.masked) {
    return absl::NotFoundError("not the slot of the round that runs here");
  }
  if (attempt_->commit) {
    OnReconnected();
    return absl::OkStatus();
  }
  ATOLL_ASSIGN_OR_RETURN(attempt_->cohort,
                         secagg::Decode<secagg::CohortSet>(AsBytes(message.payload())));
  Advance();
  return absl::OkStatus();
}

absl::Status SiteJob::OnSurvivors(const v1::SecAgg& message) {
  ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * mine, slots_->Find(SlotId(message.slot())));
  ATOLL_ASSIGN_OR_RETURN(const auto survivors,
                         secagg::Decode<secagg::SurvivorSet>(AsBytes(message.payload())));
  ATOLL_ASSIGN_OR_RETURN(const secagg::SurvivorSignature signature, mine->SignSurvivors(survivors));
  if (attempt_ && attempt_->manifest.slot == mine->slot()) {
    attempt_->survivors = secagg::IdsOf(survivors);
  }
  SendStep(mine->slot(), v1::SURVIVOR_SIGNATURE, secagg::Encode(signature));
  return absl::OkStatus();
}

void SiteJob::OnEvaluate(const v1::StartEvaluation& message) {
  spdlog::warn("not answered: job {}: this agent is a site, not an evaluator", message.job_id());
}

void SiteJob::OnRoundAborted(const v1::RoundAborted& message) {
  if (!failure_.empty()) return;
  spdlog::warn("job {}: round {} (slot {}) aborted: {}", message.job_id(), message.round(),
               message.slot(), message.reason());
  const SlotId slot(message.slot());
  if (attempt_ && attempt_->manifest.slot == slot &&
      attempt_->manifest.round.value() == message.round()) {
    DropAttempt();
    progress_.Report(message.round(), "wait");
  }
  if (check_ && check_->slot == slot) return;  // it was not aborted: it has a result
  if (absl::Status status = slots_->Burn(slot); !status.ok()) Fail(ToString(status));
}

void SiteJob::SendStep(SlotId slot, v1::Step step, Bytes payload) {
  v1::SiteMessage message;
  v1::SecAgg& body = *message.mutable_secagg();
  body.set_job_id(offer_.job.value());
  body.set_slot(slot.value());
  if (attempt_ && attempt_->manifest.slot == slot) body.set_round(attempt_->manifest.round.value());
  body.set_step(step);
  body.set_payload(payload.data(), payload.size());
  services_.send(std::move(message));
}

void SiteJob::Fail(const std::string& reason) {
  if (!failure_.empty()) return;
  failure_ = ForWire(reason);
  spdlog::error("job {} is over at this site: {}", offer_.job.value(), failure_);
  SendFailure();
  DropAttempt();
  absl::Status status = EndCheck();
  status.Update(slots_->BurnAll());
  if (!status.ok()) spdlog::error(ToString(status));
}

void SiteJob::SendFailure() {
  v1::SiteMessage message;
  v1::SiteFailure& body = *message.mutable_failure();
  body.set_job_id(offer_.job.value());
  body.set_round(run_.round.value());
  body.set_reason(failure_);
  services_.send(std::move(message));
}

void SiteJob::Tick() {
  if (!failure_.empty() && trainer_) trainer_.reset();
  if (trainer_) trainer_->Tick();
}

void SiteJob::Stop(int grace_ms) {
  if (trainer_) trainer_->Stop(grace_ms);
  trainer_.reset();
  trainer_state_ = TrainerState::kAway;
  for (const auto& task : {fetching_, uploading_, stepping_, checking_}) {
    if (task) task->Cancel();
  }
}

void SiteJob::Forget() {
  worker_.reset();  // what it still made is to be removed, too
  std::set<Digest> models = {run_.model};
  if (attempt_) models.insert(attempt_->manifest.model);
  if (next_model_) models.insert(*next_model_);
  attempt_.reset();
  const auto log_error = [](const absl::Status& status) {
    if (!status.ok()) spdlog::error(ToString(status));
  };
  if (check_) {
    spdlog::warn("job {}: it was ended before the sum of round {} was checked here",
                 offer_.job.value(), check_->round.value());
  }
  log_error(EndCheck());
  log_error(slots_->BurnAll());
  if (slots_->split() != nullptr) log_error(slots_->split()->Forget());
  log_error(services_.vectors->RemoveJob(offer_.job));
  log_error(services_.store->PutSetting(ManifestKey(offer_.run), {}));
  for (const Digest& model : models) log_error(services_.blobs->Remove(model));
}

}  // namespace atl::site
