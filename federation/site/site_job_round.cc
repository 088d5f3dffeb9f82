// A round at a site: model, training, masking, commit, upload.
#include <utility>

#include "comms/base/crypto/sha256.h"
#include "comms/base/log.h"
#include "comms/base/status.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/secagg/signing.h"
#include "federation/site/downloader.h"
#include "federation/site/server_step.h"
#include "federation/site/site_job.h"
#include "federation/site/uploader.h"

namespace atl::site {

absl::StatusOr<secagg::ManifestExpectation> SiteJob::Expect(
    const secagg::Manifest& manifest) const {
  secagg::ManifestExpectation expected;
  expected.recipe = offer_.recipe_digest;
  expected.round = manifest.round;
  if (manifest.round < run_.round) {
    return absl::InvalidArgumentError(absl::StrCat("manifest: round ", manifest.round.value(),
                                                   ": this site is at ", run_.round.value()));
  }
  // A site that missed a result cannot know the model that came of it, and takes the coordinator's
  // word; the first model and one that it computed itself it knows.
  if (manifest.round == run_.round) {
    expected.model = run_.model;
  } else if (manifest.round == RoundId(1)) {
    expected.model = run_.first_model;
  } else {
    spdlog::warn("job {}: rounds {} to {} were missed; taking the coordinator's model",
                 offer_.job.value(), run_.round.value(), manifest.round.value() - 1);
    expected.model = manifest.model;
  }
  return expected;
}

// What the scale rule starts from: what this site worked out of the last sum, 0 in the first round.
// None where it missed that sum.
std::optional<double> SiteJob::KnownRange(const secagg::Manifest& manifest) const {
  if (manifest.round == RoundId(1)) return 0;
  if (manifest.round == run_.round) return run_.range;
  return std::nullopt;
}

store::VectorId SiteJob::VectorIdOf(const Attempt& attempt) const {
  return {offer_.job, attempt.manifest.round, attempt.manifest.slot, services_.identity->id};
}

absl::Status SiteJob::BeginAttempt(const secagg::Manifest& manifest) {
  Attempt attempt;
  attempt.manifest = manifest;
  attempt.hash = secagg::HashOf(manifest);
  attempt.layout = kernels::VectorLayout(manifest.segments);
  // A vector that an earlier life of this agent finished is the one to commit to, and the only one.
  if (manifest.masked) {
    ATOLL_ASSIGN_OR_RETURN(const secagg::SiteSlot* slot, slots_->Find(manifest.slot));
    attempt.ready_sent = false;
    if (slot->state() < secagg::SlotState::kContext) {
      attempt_ = std::move(attempt);
      return absl::OkStatus();
    }
  }
  ATOLL_ASSIGN_OR_RETURN(
      attempt.vector,
      services_.vectors->OpenVector(VectorIdOf(attempt), PackedChunkBytes(manifest.segments)));
  const bool whole = attempt.vector->HasAll();
  if (!whole) attempt.vector = nullptr;
  attempt_ = std::move(attempt);
  if (whole) return CommitVector();
  return services_.vectors->RemoveSlot(offer_.job, manifest.round, manifest.slot);
}

void SiteJob::DropAttempt() {
  if (!attempt_) return;
  if (uploading_) uploading_->Cancel();
  const secagg::Manifest manifest = std::move(attempt_->manifest);
  attempt_.reset();
  absl::Status status = services_.vectors->RemoveSlot(offer_.job, manifest.round, manifest.slot);
  if (manifest.masked) status.Update(slots_->Burn(manifest.slot));
  if (!status.ok()) spdlog::error("job {}: {}", offer_.job.value(), ToString(status));
}

void SiteJob::Advance() {
  if (absl::Status status = TryAdvance(); !status.ok()) Fail(ToString(status));
}

absl::Status SiteJob::TryAdvance() {
  if (!failure_.empty() || !attempt_ || attempt_->commit) return absl::OkStatus();
  Attempt& attempt = *attempt_;
  const secagg::Manifest& manifest = attempt.manifest;
  if (!services_.blobs->Has(manifest.model)) {
    FetchModel();
    return absl::OkStatus();
  }
  switch (trainer_state_) {
    case TrainerState::kAway:
    case TrainerState::kTraining:
    case TrainerState::kMasking:
      return absl::OkStatus();
    case TrainerState::kIdle:
      return Train();
    case TrainerState::kTrained:
      break;
  }
  if (trained_round_ != manifest.round || trained_model_ != manifest.model) return Train();
  // Nothing more is given to a coordinator before the last sum has stood its check.
  if (check_) return absl::OkStatus();
  if (!manifest.masked) return Release();
  if (WantsMasksAhead() && !attempt.prepared) {  // an update that an earlier attempt has left
    ATOLL_ASSIGN_OR_RETURN(const sitelink::Prepare prepare, MasksAhead());
    trainer_->Tell(prepare);
    attempt.prepared = true;
  }
  if (!attempt.ready_sent) {
    ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * slot, slots_->Find(manifest.slot));
    ATOLL_ASSIGN_OR_RETURN(const secagg::ManifestExpectation expected, Expect(manifest));
    ATOLL_ASSIGN_OR_RETURN(const secagg::Ready ready, slot->SignReady(manifest, expected));
    attempt.ready_sent = true;
    SendStep(manifest.slot, v1::READY, secagg::Encode(ready));
  }
  if (attempt.cohort) return Release();
  progress_.Report(manifest.round.value(), "wait");
  return absl::OkStatus();
}

void SiteJob::Post(const Cancellation& cancellation, std::function<void()> then) {
  services_.queue->Push(
      [alive = alive_, then = std::move(then)] {
        if (*alive) then();
      },
      &cancellation.flag());
}

void SiteJob::FetchModel() {
  if (fetching_) return;
  const Download download{attempt_->manifest.model, ModelChunkBytes(offer_.parameters)};
  progress_.Report(attempt_->manifest.round.value(), "setup");
  fetching_ = worker_->Start([this, download](Cancellation& cancellation) {
    const absl::Status status =
        DownloadBlob(services_.channel, download, *services_.blobs, cancellation);
    Post(cancellation, [this, root = download.root, status] { OnModel(root, status); });
  });
}

void SiteJob::OnModel(const Digest& root, const absl::Status& status) {
  fetching_ = nullptr;
  if (!attempt_ || attempt_->manifest.model != root) {
    // An attempt that is over asked for it; the one that runs now may need another.
    Advance();
  } else if (status.ok()) {
    Advance();
  } else {
    Fail(absl::StrCat("round ", attempt_->manifest.round.value(),
                      ": its model: ", ToString(status)));
  }
}

absl::Status SiteJob::Train() {
  const secagg::Manifest& manifest = attempt_->manifest;
  ATOLL_ASSIGN_OR_RETURN(store::BlobReader model, services_.blobs->OpenBlob(manifest.model));
  const auto reader = std::make_shared<const store::BlobReader>(std::move(model));
  const sitelink::Train train{manifest.round.value()};
  if (WantsMasksAhead()) {
    // After the model, which throws away what was expanded for another one.
    ATOLL_ASSIGN_OR_RETURN(const sitelink::Prepare prepare, MasksAhead());
    trainer_->SendModelAnd(reader, prepare);
    trainer_->Send(train);
    attempt_->prepared = true;
  } else {
    trainer_->SendModelAnd(reader, train);
  }
  trainer_state_ = TrainerState::kTraining;
  trained_round_ = manifest.round;
  trained_model_ = manifest.model;
  progress_.Report(manifest.round.value(), "train");
  return absl::OkStatus();
}

bool SiteJob::WantsMasksAhead() const {
  return attempt_->manifest.masked && offer_.recipe.secure_aggregation.masks_ahead_mib > 0;
}

absl::StatusOr<sitelink::Prepare> SiteJob::MasksAhead() {
  const secagg::Manifest& manifest = attempt_->manifest;
  ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * slot, slots_->Find(manifest.slot));
  ATOLL_ASSIGN_OR_RETURN(const secagg::ManifestExpectation expected, Expect(manifest));
  ATOLL_ASSIGN_OR_RETURN(secagg::ContextStreams ahead, slot->ExpectedStreams(manifest, expected));
  sitelink::Prepare prepare;
  prepare.round = manifest.round.value();
  prepare.context = ahead.context;
  prepare.cipher = manifest.cipher;
  prepare.segments = manifest.segments;
  ATOLL_ASSIGN_OR_RETURN(prepare.sealed_keys, SealForTrainer(std::move(ahead.streams)));
  return prepare;
}

absl::StatusOr<Bytes> SiteJob::SealForTrainer(std::vector<secagg::MaskStream> streams) {
  std::vector<sitelink::StreamKey> keys;
  keys.reserve(streams.size());
  for (secagg::MaskStream& stream : streams) {
    keys.push_back({stream.segment, stream.subtract, std::move(stream.key)});
  }
  Bytes sealed = sitelink::SealKeys(keys, launch_key_, attempt_->manifest.round.value(),
                                    *services_.identity->suite, *services_.identity->random);
  if (sealed.empty()) return absl::InternalError("the trainer's launch key is no valid one");
  return sealed;
}

absl::Status SiteJob::Release() {
  Attempt& attempt = *attempt_;
  const secagg::Manifest& manifest = attempt.manifest;
  sitelink::Release release;
  release.round = manifest.round.value();
  release.masked = manifest.masked;
  release.clip_norm_l2 = manifest.clip_norm_l2;
  release.weigh_by_examples = manifest.weight_rule == secagg::WeightRule::kExamples;
  release.weight_max = manifest.weight_max;
  release.segments = manifest.segments;
  if (manifest.masked) {
    ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * slot, slots_->Find(manifest.slot));
    ATOLL_ASSIGN_OR_RETURN(std::vector<secagg::MaskStream> streams,
                           slot->EnterContext(*attempt.cohort));
    release.context = secagg::ContextOf(attempt.hash, secagg::IdsOf(*attempt.cohort));
    release.cipher = manifest.cipher;
    ATOLL_ASSIGN_OR_RETURN(release.sealed_keys, SealForTrainer(std::move(streams)));
  }
  // What an earlier trainer masked of this attempt was never committed to, and never left.
  attempt.vector = nullptr;
  ATOLL_RETURN_IF_ERROR(services_.vectors->RemoveSlot(offer_.job, manifest.round, manifest.slot));
  ATOLL_ASSIGN_OR_RETURN(
      attempt.vector,
      services_.vectors->OpenVector(VectorIdOf(attempt), PackedChunkBytes(manifest.segments)));
  trainer_->Send(release);
  trainer_state_ = TrainerState::kMasking;
  masking_ = attempt.hash;
  progress_.Report(manifest.round.value(), "mask");
  return absl::OkStatus();
}

absl::Status SiteJob::CommitVector() {
  Attempt& attempt = *attempt_;
  const secagg::Manifest& manifest = attempt.manifest;
  ATOLL_ASSIGN_OR_RETURN(const std::vector<Digest> digests, attempt.vector->ChunkDigests());
  const uint64_t bytes = attempt.layout.packed_bytes();
  const Digest root = MerkleRoot(digests);
  if (manifest.masked) {
    ATOLL_ASSIGN_OR_RETURN(secagg::SiteSlot * slot, slots_->Find(manifest.slot));
    ATOLL_ASSIGN_OR_RETURN(attempt.commit, slot->SignCommit(bytes, root));
  } else {
    const secagg::SiteIdentity& identity = *services_.identity;
    const Bytes body =
        secagg::CommitBody(secagg::ContextOf(attempt.hash, manifest.members), bytes, root);
    attempt.commit = secagg::Commit{
        identity.id, bytes, root,
        secagg::SignBody(*identity.suite, identity.seed, slots_->SessionOf(manifest.slot),
                         secagg::kCommitLabel, body)};
  }
  SendStep(manifest.slot, v1::COMMIT, secagg::Encode(*attempt.commit));
  StartUpload();
  return absl::OkStatus();
}

void SiteJob::StartUpload() {
  if (uploading_ && !uploading_->cancelled()) return;
  const Attempt& attempt = *attempt_;
  Upload upload;
  upload.id = VectorIdOf(attempt);
  upload.vector = attempt.vector;
  upload.token = UploadToken(*services_.identity->suite, services_.identity->seed, upload.id,
                             attempt.commit->root);
  const uint32_t chunks = attempt.layout.chunk_count();
  progress_.Report(upload.id.round.value(), "upload", 0, chunks);
  uploading_ = worker_->Start([this, upload, chunks](Cancellation& cancellation) {
    const absl::Status status =
        UploadVector(services_.channel, upload, cancellation, [&](uint32_t stored) {
          Post(cancellation, [this, round = upload.id.round.value(), stored, chunks] {
            progress_.Report(round, "upload", stored, chunks);
          });
        });
    Post(cancellation, [this, id = upload.id, status] { OnUploaded(id.slot, id.round, status); });
  });
}

void SiteJob::OnUploaded(SlotId slot, RoundId round, const absl::Status& status) {
  if (!attempt_ || attempt_->manifest.slot != slot || attempt_->manifest.round != round) return;
  uploading_ = nullptr;
  attempt_->uploaded = status.ok();
  if (absl::IsDataLoss(status)) {
    return Fail(absl::StrCat("round ", round.value(), ": upload: ", ToString(status)));
  }
  if (!status.ok()) {
    spdlog::warn("job {}: round {} goes on without this site: upload: {}", offer_.job.value(),
                 round.value(), ToString(status));
  }
  progress_.Report(round.value(), "wait");
}

void SiteJob::OnTrainerReady(const sitelink::Hello& hello) {
  launch_key_ = hello.launch_key;
  trainer_state_ = TrainerState::kIdle;
  progress_.Report(run_.round.value(), "setup");
  Advance();
}

void SiteJob::OnTrainerLost(const std::string& reason) {
  trainer_state_ = TrainerState::kAway;
  progress_.Report(run_.round.value(), "launch");
}

void SiteJob::OnTrainerFailed(const std::string& reason) {
  trainer_state_ = TrainerState::kAway;
  Fail(reason);
}

void SiteJob::OnTrainerFrame(sitelink::Frame frame) {
  if (!failure_.empty()) return;
  if (absl::Status status = HandleFrame(frame); !status.ok()) {
    Fail(absl::StrCat("trainer: ", ToString(status)));
  }
}

absl::Status SiteJob::HandleFrame(const sitelink::Frame& frame) {
  using sitelink::MessageType;
  const auto unexpected = [](const char* what) {
    return absl::InvalidArgumentError(absl::StrCat("it sent ", what, " unasked"));
  };
  switch (static_cast<MessageType>(frame.type)) {
    case MessageType::kProgress: {
      ATOLL_ASSIGN_OR_RETURN(const auto progress,
                             sitelink::Decode<sitelink::Progress>(frame.payload));
      if (attempt_) {
        progress_.Report(progress.round, progress.phase, progress.step, progress.steps,
                         progress.examples_per_s);
      }
      return absl::OkStatus();
    }
    case MessageType::kTrained: {
      ATOLL_ASSIGN_OR_RETURN(const auto trained,
                             sitelink::Decode<sitelink::Trained>(frame.payload));
      if (trainer_state_ != TrainerState::kTraining || trained.round != trained_round_.value()) {
        return unexpected("Trained");
      }
      trainer_->SetIdle();
      trainer_state_ = TrainerState::kTrained;
      return TryAdvance();
    }
    case MessageType::kMaskedChunk: {
      if (trainer_state_ != TrainerState::kMasking) return unexpected("MaskedChunk");
      ATOLL_ASSIGN_OR_RETURN(const auto chunk,
                             sitelink::Decode<sitelink::MaskedChunk>(frame.payload));
      return OnMaskedChunk(chunk);
    }
    case MessageType::kMasked: {
      if (trainer_state_ != TrainerState::kMasking) return unexpected("Masked");
      ATOLL_ASSIGN_OR_RETURN(const auto masked, sitelink::Decode<sitelink::Masked>(frame.payload));
      trainer_->SetIdle();
      trainer_state_ = TrainerState::kIdle;
      if (!attempt_ || attempt_->hash != masking_) return TryAdvance();
      if (!attempt_->vector->HasAll()) {
        return absl::InvalidArgumentError("it said Masked before all chunks had come");
      }
      if (attempt_->manifest.masked) {
        progress_.SetMaskTimes(masked.round, masked.mask_hidden_s, masked.mask_paid_s);
      }
      return CommitVector();
    }
    default:
      return absl::InvalidArgumentError(absl::StrCat("it sent a message of type ", frame.type));
  }
}

absl::Status SiteJob::OnMaskedChunk(const sitelink::MaskedChunk& chunk) {
  // Of an attempt that is over: dropped, and the trainer left to finish.
  if (!attempt_ || attempt_->hash != masking_ || attempt_->commit) return absl::OkStatus();
  return attempt_->vector->WriteChunk(chunk.index, chunk.packed);
}

}  // namespace atl::site
