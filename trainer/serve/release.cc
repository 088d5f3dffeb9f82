// Session::OnRelease: the one place where an update leaves the trainer; and what is prepared for
// it.
#include <ATen/Parallel.h>

#include <array>
#include <chrono>
#include <cmath>

#include "comms/base/status.h"
#include "kernels/quantize.h"
#include "trainer/parallel/agree.h"
#include "trainer/serve/session.h"
#include "trainer/serve/update.h"

namespace atl::trainer {

struct SliceToSend {
  const UpdateSlice& slice;
  Range range;
};

namespace {

// The largest of each over all ranks; at rank 0.
absl::StatusOr<std::array<double, 2>> Slowest(Communicator& communicator,
                                              const std::array<double, 2>& mine) {
  ByteWriter out;
  out.F64(mine[0]).F64(mine[1]);
  ATOLL_ASSIGN_OR_RETURN(const Bytes all,
                         communicator.Gather(out.bytes(), uint64_t{16} * communicator.size()));
  std::array<double, 2> slowest{};
  ByteReader in(all);
  for (size_t rank = 0; rank < all.size() / 16; ++rank) {
    for (double& seconds : slowest) seconds = std::max(seconds, in.F64());
  }
  return slowest;
}

}  // namespace

absl::Status Session::OnPrepare(const sitelink::Prepare& prepare) {
  if (absl::Status check = CheckSegments(prepare.segments, global_.size()); !check.ok())
    return Alike(check);
  auto opened = sitelink::OpenKeys(prepare.sealed_keys, launch_key_, prepare.round, OpensslSuite());
  if (!opened.ok()) return Alike(opened.status());
  const uint64_t length = prepare.segments[sitelink::kUpdateSegment].length;
  ahead_.Start({prepare.context, prepare.cipher, prepare.segments},
               std::make_unique<SegmentKeys>(*opened, sitelink::kUpdateSegment),
               SliceOf(length, communicator_.rank(), communicator_.size()),
               static_cast<uint64_t>(recipe_.secure_aggregation.masks_ahead_mib) << 20);
  return absl::OkStatus();
}

absl::Status Session::OnRelease(const sitelink::Release& release) {
  if (!update_ || update_->round != release.round) {
    return Alike(absl::FailedPreconditionError(absl::StrCat(
        "the agent released round ", release.round, ", but no update of that round is there")));
  }
  if (absl::Status check = CheckRelease(release, recipe_, global_.size()); !check.ok())
    return Alike(check);
  std::vector<sitelink::StreamKey> stream_keys;
  if (release.masked) {
    auto opened =
        sitelink::OpenKeys(release.sealed_keys, launch_key_, release.round, OpensslSuite());
    if (!opened.ok()) return Alike(opened.status());
    stream_keys = *std::move(opened);
  }
  const SegmentKeys metrics_keys(stream_keys, sitelink::kMetricsSegment);
  const SegmentKeys update_keys(stream_keys, sitelink::kUpdateSegment);
  stream_keys.clear();  // wiped one by one
  // Masked with no key at all would be plain.
  if (release.masked && (metrics_keys.keys().empty() || update_keys.keys().empty())) {
    return Alike(absl::FailedPreconditionError(
        "refused to release an update: a segment has no stream keys"));
  }
  if (inbox_) inbox_->SetBusy(true);

  const std::span<const float> local = network_->values();
  const auto threads = static_cast<uint32_t>(at::get_num_threads());  // this rank's
  std::vector<double> squares =
      UpdateSquares(local, global_, {communicator_.rank(), communicator_.size(), threads});
  ATOLL_RETURN_IF_ERROR(communicator_.AllReduceSum(squares));
  const double squared_norm = UpdateSquaredNorm(squares);
  absl::Status finite;
  if (!std::isfinite(squared_norm)) {
    finite = absl::AbortedError(
        absl::StrCat("the update of round ", release.round, " holds values that are not finite"));
  }
  const absl::StatusOr<int64_t> loss =
      LossMetric(update_->metrics, release.segments[sitelink::kMetricsSegment]);
  finite.Update(loss.status());
  ATOLL_RETURN_IF_ERROR(Agree(communicator_, finite));
  const uint64_t weight = release.weigh_by_examples
                              ? std::min<uint64_t>(examples_.size(), release.weight_max)
                              : release.weight_max;
  const double a = static_cast<double>(weight) / static_cast<double>(release.weight_max);

  UpdateOptions options;
  options.segment = release.segments[sitelink::kUpdateSegment];
  const double clip_factor = kernels::ClipFactor(squared_norm, release.clip_norm_l2);
  options.factor = clip_factor * a;
  options.rounding_key = SeededKey({.seed = recipe_.train.seed,
                                    .label = "rounding",
                                    .round = release.round,
                                    .site = setup_->site_index});
  options.slice = SliceOf(options.segment.length, communicator_.rank(), communicator_.size());
  options.threads = threads;
  auto reported = std::chrono::steady_clock::now();
  auto progress = [&](uint64_t done, uint64_t all) {
    auto now = std::chrono::steady_clock::now();
    if (now - reported < std::chrono::milliseconds(200)) return;
    reported = now;
    const uint64_t unit = std::max<uint64_t>(1, all >> 20);  // so that both fit 32 bits
    (void)Tell(sitelink::Progress{release.round, "mask", static_cast<uint32_t>(done / unit),
                                  static_cast<uint32_t>(all / unit), 0});
  };
  // Wiped when the vector is on its way.
  const std::shared_ptr<const ExpandedMasks> ahead =
      ahead_.Take({release.context, release.cipher, release.segments}, update_keys);
  MaskSource masks{.keys = update_keys.keys(), .ahead = {}, .cipher = release.cipher};
  if (ahead) masks.ahead = ahead->done();
  const UpdateSlice slice = MakeUpdateSlice(local, global_, options, masks, progress);
  const std::array<double, 2> mine = {ahead ? ahead->cpu_s() : 0,
                                      release.masked ? slice.mask_s : 0};
  ATOLL_ASSIGN_OR_RETURN(const auto slowest, Slowest(communicator_, mine));

  std::array<double, 1> saturated = {static_cast<double>(slice.saturated)};
  ATOLL_RETURN_IF_ERROR(communicator_.AllReduceSum(saturated));
  std::array<int64_t, sitelink::kMetricCount> metrics{};
  metrics[sitelink::kWeight] = static_cast<int64_t>(weight);
  metrics[sitelink::kExamples] = static_cast<int64_t>(update_->metrics.examples);
  metrics[sitelink::kLossSum] = *loss;
  metrics[sitelink::kCorrect] = static_cast<int64_t>(update_->metrics.correct);
  metrics[sitelink::kSaturated] = static_cast<int64_t>(saturated[0]);
  metrics[sitelink::kClipped] = clip_factor < 1 ? 1 : 0;
  const Bytes metrics_segment =
      MakeMetricsSegment(metrics, release.segments[sitelink::kMetricsSegment],
                         {.keys = metrics_keys.keys(), .ahead = {}, .cipher = release.cipher});
  update_.reset();  // released once: the same update under other keys would be a second look at it
  ATOLL_RETURN_IF_ERROR(SendVector(release, metrics_segment, {slice, options.slice}));
  if (inbox_) inbox_->SetBusy(false);
  return Tell(sitelink::Masked{release.round, slowest[0], slowest[1]});
}

absl::Status Session::SendVector(const sitelink::Release& release, ByteView metrics_segment,
                                 const SliceToSend& mine) {
  const kernels::VectorLayout layout(release.segments);
  for (uint32_t index = 0; index < layout.chunk_count(); ++index) {
    const kernels::Chunk chunk = layout.chunk(index);
    sitelink::MaskedChunk message{.index = index, .packed = {}};
    if (chunk.segment == sitelink::kMetricsSegment) {
      message.packed.assign(metrics_segment.begin(), metrics_segment.end());
    } else {
      const uint32_t bits = release.segments[chunk.segment].sum_bits;
      ATOLL_ASSIGN_OR_RETURN(
          message.packed,
          communicator_.Gather(PartOfSlice(mine.slice, mine.range, bits, chunk), chunk.bytes));
    }
    absl::Status sent;
    if (inbox_ && message.packed.size() != chunk.bytes) {
      sent = absl::InternalError(absl::StrCat("chunk ", index, " came to ", message.packed.size(),
                                              " bytes, not ", chunk.bytes));
    }
    if (sent.ok()) sent = Tell(message);
    if (!sent.ok()) return sent;
  }
  return absl::OkStatus();
}

}  // namespace atl::trainer
