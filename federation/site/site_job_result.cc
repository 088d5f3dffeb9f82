// R5 at a site: the result is checked, the server's step taken, chunks of the sum looked at again.
#include <utility>

#include "comms/base/log.h"
#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "federation/secagg/check_result.h"
#include "federation/secagg/signed_bodies.h"
#include "federation/site/downloader.h"
#include "federation/site/server_step.h"
#include "federation/site/site_job.h"
#include "federation/site/spot_checker.h"

namespace atl::site {
namespace {

constexpr uint64_t kPartBytesMax = 16 << 20;

std::string CheckKey(const secagg::RunId& run) { return absl::StrCat("check/", Hex(run)); }

Download SumOf(const secagg::Manifest& manifest, const Digest& sum) {
  return {sum, PackedChunkBytes(manifest.segments)};
}

}  // namespace

// A result on its way through the checks.
struct SiteJob::Outcome {
  secagg::Manifest manifest;
  secagg::Result result;
  // What it is checked against: masked, and the site in U2; or its commit without secure
  // aggregation.
  std::optional<secagg::SlotFacts> facts;
  std::optional<secagg::Commit> commit;
  std::optional<secagg::ResultClaim> claim;  // once the result was checked

  // For the journal; holds secrets: wipe it.
  Bytes Encoded() const {
    Bytes encoded_result = secagg::Encode(result);
    const Bytes encoded_manifest = secagg::Encode(manifest);
    ByteWriter writer;
    writer.Reserve(encoded_result.size() + encoded_manifest.size() + 16);
    writer.Sized(encoded_manifest).Sized(encoded_result);
    Wipe(encoded_result);
    return std::move(writer).Take();
  }
};

// Runs on the worker's thread: reads nothing that changes. None for a site that was not in the
// cohort, which cannot know what the others signed, and for one whose group is not in the sum.
absl::StatusOr<std::optional<secagg::ResultClaim>> SiteJob::CheckedClaim(
    const Outcome& outcome) const {
  const secagg::SiteIdentity& identity = *services_.identity;
  const uint32_t group = outcome.manifest.group;
  const std::vector<Digest>& sums = outcome.result.group_sums;
  // Its group is said to be out: nothing of this site is in the sum.
  if (group > 0 && (sums.size() < group || sums[group - 1] == Digest{})) {
    return std::optional<secagg::ResultClaim>();
  }
  secagg::ResultClaim claim;
  if (outcome.facts) {
    ATOLL_ASSIGN_OR_RETURN(claim.streams, secagg::CheckResult(*outcome.facts, identity.roster,
                                                              *identity.suite, outcome.result));
  } else if (outcome.manifest.masked) {
    return std::optional<secagg::ResultClaim>();
  } else {
    const secagg::Commit* own = outcome.commit ? &*outcome.commit : nullptr;
    ATOLL_RETURN_IF_ERROR(secagg::CheckPlainResult(slots_->SessionOf(outcome.manifest.slot),
                                                   outcome.manifest, own, identity.roster,
                                                   *identity.suite, outcome.result));
  }
  claim.layout = kernels::VectorLayout(outcome.manifest.segments);
  claim.cipher = outcome.manifest.cipher;
  claim.group = outcome.manifest.group;
  claim.survivors = outcome.result.survivors;
  claim.group_sums = outcome.result.group_sums;
  claim.sum = outcome.result.sum;
  return std::make_optional(std::move(claim));
}

absl::Status SiteJob::OnResult(const v1::SecAgg& message) {
  auto outcome = std::make_shared<Outcome>();
  ATOLL_ASSIGN_OR_RETURN(outcome->result,
                         secagg::Decode<secagg::Result>(AsBytes(message.payload())));
  const RoundId round = outcome->result.round;
  const SlotId slot(message.slot());
  if (stepping_ || (check_ && check_->round == round)) return absl::OkStatus();  // a repeat
  if (round < run_.round) {
    SendChecked(slot, round, 0);  // again: it may have been lost
    return absl::OkStatus();
  }
  if (!attempt_ || attempt_->manifest.round != round || attempt_->manifest.slot != slot ||
      !services_.blobs->Has(attempt_->manifest.model)) {
    SendChecked(slot, round, 0);  // nobody need wait for this site
    return absl::NotFoundError("this site did not take part in that round to its end");
  }
  outcome->manifest = attempt_->manifest;
  outcome->commit = attempt_->commit;
  if (outcome->manifest.masked) {
    ATOLL_ASSIGN_OR_RETURN(const secagg::SiteSlot* mine, slots_->Find(slot));
    if (auto facts = mine->Facts(); facts.ok()) outcome->facts = *std::move(facts);
  }
  if (uploading_) uploading_->Cancel();
  next_model_ = outcome->result.next_model;
  stepping_ = worker_->Start([this, outcome](Cancellation& cancellation) {
    absl::StatusOr<std::optional<secagg::ResultClaim>> claim = CheckedClaim(*outcome);
    absl::Status status = claim.status();
    if (status.ok()) {
      outcome->claim = *std::move(claim);
      status = DownloadBlob(services_.channel, SumOf(outcome->manifest, outcome->result.sum),
                            *services_.blobs, cancellation);
    }
    absl::StatusOr<double> next_range = 0.0;
    if (!status.ok()) {
      next_range = status;
    } else {
      const ServerStep step{outcome->manifest, outcome->result, offer_.recipe.federation.server_lr,
                            strategy::ScaleRuleOf(offer_.recipe.secure_aggregation.scale)};
      next_range = TakeServerStep(step, *services_.blobs, cancellation);
    }
    if (!next_range.ok()) (void)services_.blobs->Remove(outcome->result.sum);
    Post(cancellation, [this, outcome, next_range] { OnStepTaken(outcome, next_range); });
  });
  return absl::OkStatus();
}

void SiteJob::OnStepTaken(const std::shared_ptr<Outcome>& outcome,
                          const absl::StatusOr<double>& next_range) {
  stepping_ = nullptr;
  next_model_.reset();
  const secagg::Result& result = outcome->result;
  const SlotId slot = outcome->manifest.slot;
  if (!next_range.ok()) {
    return Fail(absl::StrCat("round ", result.round.value(), ": ", ToString(next_range.status())));
  }
  const bool is_to_check = outcome->claim && services_.spot_check_chunks > 0;
  absl::Status saved;
  if (is_to_check) {
    // Before the round is over: a restart must not lose the check.
    Bytes encoded = outcome->Encoded();
    saved = services_.store->PutSetting(CheckKey(offer_.run), encoded);
    Wipe(encoded);
    check_ = Check{slot, result.round, result.sum};
  }
  const Digest old = run_.model;
  run_.round = RoundId(result.round.value() + 1);
  run_.model = result.next_model;
  run_.range = *next_range;
  saved.Update(services_.store->SaveRun(run_));
  spdlog::info("job {}: round {} is over, {} sites; the next model is {}", offer_.job.value(),
               result.round.value(), result.sites, Hex(result.next_model));
  if (attempt_ && attempt_->manifest.round == result.round) {
    const Digest base = attempt_->manifest.model;
    attempt_.reset();
    if (base != run_.model && base != old) saved.Update(services_.blobs->Remove(base));
  }
  saved.Update(services_.vectors->RemoveRound(offer_.job, result.round));
  if (old != run_.model) saved.Update(services_.blobs->Remove(old));
  if (!is_to_check) {
    saved.Update(services_.blobs->Remove(result.sum));
    saved.Update(slots_->Erase(slot));
  }
  if (!saved.ok()) return Fail(ToString(saved));
  progress_.Report(result.round.value(), "wait");
  if (is_to_check) {
    StartCheck(outcome);
  } else {
    SendChecked(slot, result.round, 0);
  }
  if (held_manifest_) {
    const v1::SecAgg manifest = *std::exchange(held_manifest_, std::nullopt);
    OnSecAgg(manifest);
  }
}

// A check that an earlier life of this agent did not end. A slot whose check was ended, but not
// erased, is erased now.
absl::Status SiteJob::RestoreCheck() {
  absl::StatusOr<Bytes> saved = services_.store->GetSetting(CheckKey(offer_.run));
  if (!saved.ok() && !absl::IsNotFound(saved.status())) return saved.status();
  SlotId kept;
  if (saved.ok() && !saved->empty()) {
    auto outcome = std::make_shared<Outcome>();
    ByteReader reader(*saved);
    auto manifest = secagg::Decode<secagg::Manifest>(reader.SizedView(kPartBytesMax));
    auto result = secagg::Decode<secagg::Result>(reader.SizedView(kPartBytesMax));
    const absl::Status read = reader.Finish("kept result");
    Wipe(*saved);
    if (!read.ok() || !manifest.ok() || !result.ok()) {
      return absl::DataLossError("site.db: the result that was kept to be checked does not parse");
    }
    outcome->manifest = *std::move(manifest);
    outcome->result = *std::move(result);
    // Written, but the round was not: the coordinator says it again.
    if (outcome->result.round < run_.round) {
      kept = outcome->manifest.slot;
      check_ = Check{kept, outcome->result.round, outcome->result.sum};
      restored_check_ = std::move(outcome);
    }
  }
  return slots_->EraseOver(run_.round, kept);
}

void SiteJob::ResumeCheck() {
  const std::shared_ptr<Outcome> outcome = std::exchange(restored_check_, nullptr);
  if (!outcome) return;
  if (outcome->manifest.masked) {
    const absl::StatusOr<secagg::SiteSlot*> mine = slots_->Find(outcome->manifest.slot);
    if (mine.ok()) {
      if (auto facts = (*mine)->Facts(); facts.ok()) outcome->facts = *std::move(facts);
    }
  }
  StartCheck(outcome);
}

// Which chunks are drawn here, after the result.
void SiteJob::StartCheck(const std::shared_ptr<Outcome>& outcome) {
  spdlog::debug("job {}: round {}: checks the sum", offer_.job.value(),
                outcome->result.round.value());
  checking_ = worker_->Start([this, outcome](Cancellation& cancellation) {
    absl::Status status;
    if (!outcome->claim) {  // after a restart
      absl::StatusOr<std::optional<secagg::ResultClaim>> claim = CheckedClaim(*outcome);
      status = claim.status();
      if (status.ok() && !claim->has_value()) {
        status = absl::DataLossError("the slot of the result that was kept is lost");
      }
      if (status.ok()) {
        outcome->claim = *std::move(claim);
        status = DownloadBlob(services_.channel, SumOf(outcome->manifest, outcome->result.sum),
                              *services_.blobs, cancellation);
      }
    }
    uint32_t chunks = 0;
    if (status.ok()) {
      SpotCheck check{offer_.job,
                      outcome->result.round,
                      outcome->manifest.slot,
                      *std::move(outcome->claim),
                      {}};
      // The metrics are one short chunk that all others depend on: always.
      check.chunks =
          secagg::PickChunks(sitelink::kMetricsSegment + 1, check.claim.layout.chunk_count(),
                             services_.spot_check_chunks, *services_.identity->random);
      check.chunks.insert(check.chunks.begin(), sitelink::kMetricsSegment);
      chunks = static_cast<uint32_t>(check.chunks.size());
      status = CheckChunks(services_.channel, check, *services_.identity, *services_.blobs,
                           cancellation);
    }
    Post(cancellation, [this, chunks, status] { OnChecked(chunks, status); });
  });
}

void SiteJob::OnChecked(uint32_t chunks, const absl::Status& status) {
  checking_ = nullptr;
  if (!check_) return;
  const Check done = *check_;
  if (!status.ok()) {
    return Fail(absl::StrCat("round ", done.round.value(), ": spot check: ", ToString(status)));
  }
  absl::Status ended = EndCheck();
  ended.Update(slots_->Erase(done.slot));
  if (!ended.ok()) return Fail(ToString(ended));
  spdlog::info("job {}: round {}: {} chunks of the sum are what the sites sent", offer_.job.value(),
               done.round.value(), chunks);
  SendChecked(done.slot, done.round, chunks);
  Advance();
}

// The slot goes after it: with its erasure nothing of the secrets is left on disk.
absl::Status SiteJob::EndCheck() {
  absl::Status status = services_.store->PutSetting(CheckKey(offer_.run), {});
  if (checking_) checking_->Cancel();
  if (check_) status.Update(services_.blobs->Remove(check_->sum));
  check_.reset();
  return status;
}

void SiteJob::SendChecked(SlotId slot, RoundId round, uint32_t chunks) {
  v1::SiteMessage message;
  v1::SecAgg& body = *message.mutable_secagg();
  body.set_job_id(offer_.job.value());
  body.set_slot(slot.value());
  body.set_round(round.value());
  body.set_step(v1::RESULT_CHECKED);
  ByteWriter payload;
  if (chunks > 0) payload.U32(chunks);
  body.set_payload(payload.bytes().data(), payload.bytes().size());
  services_.send(std::move(message));
}

}  // namespace atl::site
