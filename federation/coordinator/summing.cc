#include "federation/coordinator/summing.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "federation/secagg/sum.h"
#include "federation/strategy/strategy.h"

namespace atl::coordinator {
namespace {

static_assert(std::endian::native == std::endian::little,
              "models are float32, little-endian, as they lie in memory");

using Vectors = std::vector<std::shared_ptr<store::StagedVector>>;

absl::StatusOr<Vectors> OpenVectors(const StartSum& task, const kernels::VectorLayout& layout,
                                    store::VectorStore& vectors) {
  std::vector<uint32_t> sizes;
  for (uint32_t i = 0; i < layout.chunk_count(); ++i)
    sizes.push_back(static_cast<uint32_t>(layout.chunk(i).bytes));
  Vectors opened;
  for (SiteId site : task.survivors) {
    ATOLL_ASSIGN_OR_RETURN(auto vector,
                           vectors.OpenVector({task.job, task.round, task.slot, site}, sizes));
    opened.push_back(std::move(vector));
  }
  return opened;
}

absl::StatusOr<Bytes> SumChunk(const StartSum& task, const kernels::VectorLayout& layout,
                               uint32_t index, const Vectors& vectors) {
  ATOLL_ASSIGN_OR_RETURN(auto summer, secagg::ChunkSummer::Create(layout, index));
  for (const auto& vector : vectors) {
    ATOLL_ASSIGN_OR_RETURN(Bytes packed, vector->ReadChunk(index));
    ATOLL_RETURN_IF_ERROR(summer.Add(packed));
  }
  return summer.Finish(task.streams, task.cipher);
}

absl::StatusOr<SumOutcome> DecodeMetrics(ByteView packed, const kernels::Segment& segment) {
  ATOLL_ASSIGN_OR_RETURN(auto values, strategy::DecodeIntegers(packed, segment));
  if (values.size() < sitelink::kMetricCount ||
      std::any_of(values.begin(), values.end(), [](int64_t value) { return value < 0; })) {
    return absl::InvalidArgumentError(
        "the sites' metrics do not add up to counts: a site has sent nonsense");
  }
  SumOutcome outcome;
  outcome.weight = static_cast<uint64_t>(values[sitelink::kWeight]);
  outcome.examples = static_cast<uint64_t>(values[sitelink::kExamples]);
  outcome.correct = static_cast<uint64_t>(values[sitelink::kCorrect]);
  outcome.saturated = static_cast<uint64_t>(values[sitelink::kSaturated]);
  outcome.loss_sum = static_cast<double>(values[sitelink::kLossSum]) / sitelink::kLossUnit;
  return outcome;
}

}  // namespace

absl::StatusOr<SumOutcome> SumRound(const StartSum& task, const store::BlobStore& blobs,
                                    store::VectorStore& vectors, const std::atomic<bool>& stopped) {
  const kernels::VectorLayout layout(task.segments);
  if (task.segments.size() != 2 ||
      layout.chunk(0).elements != task.segments[sitelink::kMetricsSegment].length) {
    return absl::InvalidArgumentError("a round's vector has metrics, in one chunk, and the update");
  }
  ATOLL_ASSIGN_OR_RETURN(Vectors staged, OpenVectors(task, layout, vectors));
  ATOLL_ASSIGN_OR_RETURN(store::BlobReader model, blobs.OpenBlob(task.model));
  ATOLL_ASSIGN_OR_RETURN(store::BlobWriter sum, blobs.NewBlob());
  ATOLL_ASSIGN_OR_RETURN(store::BlobWriter next, blobs.NewBlob());
  if (model.chunk_count() + 1 != layout.chunk_count()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model has ", model.chunk_count(), " chunks, the update ", layout.chunk_count() - 1));
  }
  SumOutcome outcome;
  strategy::FedAvgOptions step;
  step.segment = task.segments[sitelink::kUpdateSegment];
  step.server_lr = task.server_lr;
  for (uint32_t index = 0; index < layout.chunk_count(); ++index) {
    if (stopped) return absl::CancelledError("the coordinator stops");
    ATOLL_ASSIGN_OR_RETURN(Bytes packed, SumChunk(task, layout, index, staged));
    ATOLL_RETURN_IF_ERROR(sum.AddChunk(packed));
    if (index == 0) {
      ATOLL_ASSIGN_OR_RETURN(outcome,
                             DecodeMetrics(packed, task.segments[sitelink::kMetricsSegment]));
      const auto survivors = static_cast<uint32_t>(task.survivors.size());
      step.total_weight = survivors;
      if (task.weight_rule == secagg::WeightRule::kExamples) {
        ATOLL_ASSIGN_OR_RETURN(step.total_weight,
                               strategy::TotalWeight(static_cast<int64_t>(outcome.weight),
                                                     task.weight_max, survivors));
      }
      continue;
    }
    ATOLL_ASSIGN_OR_RETURN(Bytes chunk, model.ReadChunk(index - 1));
    const uint64_t elements = layout.chunk(index).elements;
    if (chunk.size() != elements * sizeof(float)) {
      return absl::InvalidArgumentError(absl::StrCat("chunk ", index - 1, " of the model has ",
                                                     chunk.size(), " bytes, not ",
                                                     elements * sizeof(float)));
    }
    std::vector<float> values(elements);
    std::memcpy(values.data(), chunk.data(), chunk.size());
    ATOLL_RETURN_IF_ERROR(strategy::ApplyFedAvg(values, packed, step, values));
    std::memcpy(chunk.data(), values.data(), chunk.size());
    ATOLL_RETURN_IF_ERROR(next.AddChunk(chunk));
  }
  ATOLL_ASSIGN_OR_RETURN(outcome.sum, sum.Commit());
  ATOLL_ASSIGN_OR_RETURN(outcome.next_model, next.Commit());
  return outcome;
}

}  // namespace atl::coordinator
