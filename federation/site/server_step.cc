#include "federation/site/server_step.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "comms/base/status.h"
#include "comms/sitelink/messages.h"
#include "federation/strategy/strategy.h"
#include "kernels/vector_layout.h"

namespace atl::site {
namespace {

// Models are little-endian float32 on the wire and on disk; their bytes are used as they are.
static_assert(std::endian::native == std::endian::little);

absl::StatusOr<double> WeightOf(const ServerStep& step, const store::BlobReader& sum) {
  const uint32_t survivors = step.result.sites;
  if (step.manifest.weight_rule == secagg::WeightRule::kUniform) return survivors;
  // The metrics are the first segment and fit in one chunk.
  ATOLL_ASSIGN_OR_RETURN(const Bytes packed, sum.ReadChunk(0));
  ATOLL_ASSIGN_OR_RETURN(
      const std::vector<int64_t> metrics,
      strategy::DecodeIntegers(packed, step.manifest.segments[sitelink::kMetricsSegment]));
  return strategy::TotalWeight(metrics[sitelink::kWeight], step.manifest.weight_max, survivors);
}

}  // namespace

std::vector<uint32_t> PackedChunkBytes(const std::vector<kernels::Segment>& segments) {
  const kernels::VectorLayout layout(segments);
  std::vector<uint32_t> sizes(layout.chunk_count());
  for (uint32_t i = 0; i < layout.chunk_count(); ++i) {
    sizes[i] = static_cast<uint32_t>(layout.chunk(i).bytes);
  }
  return sizes;
}

absl::StatusOr<double> TakeServerStep(const ServerStep& step, const store::BlobStore& blobs,
                                      const Cancellation& cancellation) {
  ATOLL_ASSIGN_OR_RETURN(const store::BlobReader model, blobs.OpenBlob(step.manifest.model));
  ATOLL_ASSIGN_OR_RETURN(const store::BlobReader sum, blobs.OpenBlob(step.result.sum));
  ATOLL_ASSIGN_OR_RETURN(store::BlobWriter writer, blobs.NewBlob());
  const kernels::VectorLayout layout(step.manifest.segments);
  strategy::FedAvgOptions options;
  options.segment = step.manifest.segments[sitelink::kUpdateSegment];
  options.server_lr = step.server_lr;
  ATOLL_ASSIGN_OR_RETURN(options.total_weight, WeightOf(step, sum));

  strategy::SumOfSquares squares;
  std::vector<float> values, next;
  uint32_t model_chunk = 0;
  for (uint32_t i = 0; i < layout.chunk_count(); ++i) {
    if (cancellation.cancelled()) return absl::CancelledError("server step cancelled");
    const kernels::Chunk chunk = layout.chunk(i);
    if (chunk.segment != sitelink::kUpdateSegment) continue;
    ATOLL_ASSIGN_OR_RETURN(const Bytes bytes, model.ReadChunk(model_chunk++));
    ATOLL_ASSIGN_OR_RETURN(const Bytes packed, sum.ReadChunk(i));
    if (bytes.size() != chunk.elements * sizeof(float)) {
      return absl::DataLossError(absl::StrCat("model ", Hex(step.manifest.model), ": chunk ",
                                              model_chunk - 1, " has ", bytes.size(), " bytes"));
    }
    values.resize(chunk.elements);
    next.resize(chunk.elements);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    ATOLL_RETURN_IF_ERROR(strategy::ApplyFedAvg(values, packed, options, next));
    if (step.scale_rule == strategy::ScaleRule::kLastAggregate) {
      ATOLL_RETURN_IF_ERROR(squares.Add(packed, chunk.elements, options.segment));
    }
    ATOLL_RETURN_IF_ERROR(writer.AddChunk(
        {reinterpret_cast<const uint8_t*>(next.data()), next.size() * sizeof(float)}));
  }
  ATOLL_ASSIGN_OR_RETURN(const Digest root, writer.Commit());
  if (root == step.result.next_model) {
    return strategy::NextRange(squares, options.segment, step.result.sites);
  }
  ATOLL_RETURN_IF_ERROR(blobs.Remove(root));
  return absl::InvalidArgumentError(absl::StrCat(
      "result of round ", step.result.round.value(), ": the coordinator's next model is ",
      Hex(step.result.next_model), ", the sum that it published gives ", Hex(root)));
}

}  // namespace atl::site
